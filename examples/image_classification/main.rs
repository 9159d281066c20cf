//! Trains image classifiers of the four variants and compares them.
//!
//! `cargo run --release --example image_classification -- --help` tells what it can do.

#[path = "../common/mod.rs"]
mod common;

use clap::Parser;
use common::arguments::set;
use common::images::Images;
use common::interrupts;
use common::program::{Result, open_device, train};
use common::progress::Progress;
use common::start::{describe_image_start, image_start};
use neutreno::VariantConfig;
use neutreno::data::images::{ReadOptions, Task};
use neutreno::ranks::Ranks;
use neutreno::tasks::classification::ImageClassification;
use std::process::ExitCode;

/// Trains small vision transformers to tell what images show, and compares four variants:
/// Transformer, NeuTRENO, ResFormer, SVFormer.
///
/// --data takes a folder with the files of MNIST, Fashion-MNIST, CIFAR-10 or CIFAR-100, or with a
/// folder of PNG, JPEG, WebP or BMP pictures for each class; perhaps in train/, val/ and test/, of which
/// val/ is tested on where there is no test/. With no flags it trains all four at a small size
/// on images that it draws itself, and writes a report to look at into runs/.
#[derive(Debug, Parser)]
#[command(version, name = "image_classification", max_term_width = 100, after_help = AFTER_HELP)]
#[command(args_override_self = true)]
struct Arguments {
    #[command(flatten)]
    images: Images,
    /// The probability of erasing a rectangle
    #[arg(long, value_name = "SHARE", help_heading = "Changing images")]
    erasing: Option<f32>,
    /// α of mixup: images are blended two by two
    #[arg(long, value_name = "ALPHA", help_heading = "Changing images")]
    mixup: Option<f32>,
    /// α of CutMix: images get a rectangle from another one
    #[arg(long, value_name = "ALPHA", help_heading = "Changing images")]
    cutmix: Option<f32>,
}

const AFTER_HELP: &str = "\
Examples:
  image_classification                                  all four variants on drawn images
  image_classification --data fashion-mnist --minutes 10 --variant neutreno
  image_classification --data cifar-10-batches-bin --preset small --mixup 0.8 --cutmix 1
  image_classification --data pictures --preset deit-tiny --skip-broken";

fn main() -> ExitCode {
    common::ranks::main(|arguments: &Arguments| arguments.images.common.flags(), run)
}

fn run(arguments: &Arguments, ranks: &dyn Ranks) -> Result<()> {
    interrupts::catch()?;
    let (images, common) = (&arguments.images, &arguments.images.common);
    // Whatever is wrong with the flags comes out before anything is loaded.
    images.check_start()?;
    let mut progress = Progress::of_training(&common.output, ranks);
    let start = image_start(&common.start, common.output.resume.as_deref(), &progress)?;
    let (mut sizes, settings) = images.settings(Task::Classification, start.as_ref())?;
    let augmentation = &mut sizes.augmentation;
    set(&mut augmentation.erasing, &arguments.erasing);
    set(&mut augmentation.mixup, &arguments.mixup);
    set(&mut augmentation.cutmix, &arguments.cutmix);
    images.check(&sizes, Task::Classification)?;
    let variants = common.what.variants(sizes.layers, VariantConfig::of_images)?;
    let device = open_device(&common.machine, &progress)?;
    let (labels, batch) = (ReadOptions::default(), settings.batch);
    let data = images.find(Task::Classification, &mut sizes, batch, labels, &progress)?;
    let mut task = progress.during("training a linear model, to compare with", || {
        ImageClassification::new(data, sizes, &device)
    })?;
    if let Some(score) = task.linear_baseline() {
        progress.line(&format!("a linear model gets {:.1} % right", 100.0 * score));
    }
    if let Some(start) = start.clone() {
        task = task.starting_from(start);
    }
    describe_image_start(&task, start.as_ref(), &variants, &device, &progress)?;
    train(&task, settings, &variants, common, device, &mut progress, ranks)
}
