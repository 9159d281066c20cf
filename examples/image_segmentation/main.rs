//! Trains models of the four variants to segment images and compares them.
//!
//! `cargo run --release --example image_segmentation -- --help` tells what it can do.

#[path = "../common/mod.rs"]
mod common;

use clap::{ArgAction, Parser};
use common::arguments::{above_zero, positive, set, share};
use common::images::Images;
use common::interrupts;
use common::program::{Result, open_device, train};
use common::progress::Progress;
use common::start::{describe_image_start, image_start};
use neutreno::VariantConfig;
use neutreno::data::images::{ReadOptions, Task};
use neutreno::ranks::Ranks;
use neutreno::tasks::images::ImageSettings;
use neutreno::tasks::segmentation::ImageSegmentation;
use std::process::ExitCode;

/// Trains small vision transformers with Segmenter's mask transformer to tell what every pixel of an
/// image belongs to, and compares four variants: Transformer, NeuTRENO, ResFormer, SVFormer.
///
/// --data takes a folder with train/, val/ and test/ for the pictures and trainannot/, valannot/ and
/// testannot/ for PNG files of the same names whose grey values or palette indices are the classes.
/// With no flags it trains all four at a small size on scenes that it draws itself, and writes a
/// report to look at into runs/.
#[derive(Debug, Parser)]
#[command(version, name = "image_segmentation", max_term_width = 100, after_help = AFTER_HELP)]
#[command(args_override_self = true)]
struct Arguments {
    #[command(flatten)]
    images: Images,
    /// Number of blocks of the mask transformer
    #[arg(long, value_parser = positive, help_heading = "Model")]
    decoder_layers: Option<usize>,
    /// Scores along each side of a patch; must divide the patch and the width; 1 as in Segmenter
    /// [default: the most up to 4 that fit]
    #[arg(long, value_parser = positive, value_name = "COUNT", help_heading = "Model")]
    mask_upscale: Option<usize>,
    /// ε of the norm over a patch's scores; Segmenter has 1e-5, with which gradients leap [default: 0.01]
    #[arg(long, value_parser = above_zero, value_name = "EPSILON", help_heading = "Model")]
    mask_norm_epsilon: Option<f32>,
    /// How far the loss makes up for rare classes, from 0 to 1
    #[arg(long, value_parser = share::<f32>, value_name = "SHARE", help_heading = "Model")]
    balance: Option<f32>,
    /// The index of pixels that are not scored [default: 255, or what is known of the data]
    #[arg(long, value_name = "INDEX", help_heading = "Images")]
    void: Option<u8>,
    /// The values in label images that stand for the classes, in order, as 0,255 for masks of black and
    /// white [default: 0, 1, 2, … themselves]
    #[arg(long, value_name = "VALUE,...", action = ArgAction::Set, value_delimiter = ',', help_heading = "Images")]
    label_values: Option<Vec<u8>>,
}

const AFTER_HELP: &str = "\
Examples:
  image_segmentation                                    all four variants on drawn scenes
  image_segmentation --data camvid --minutes 10 --variant neutreno
  image_segmentation --data camvid --seeds 3 --variant transformer,neutreno";

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
    let (mut sizes, settings) = images.settings(Task::Segmentation, start.as_ref())?;
    set(&mut sizes.decoder_layers, &arguments.decoder_layers);
    sizes.mask_norm_epsilon = arguments.mask_norm_epsilon;
    sizes.mask_upscale = arguments.mask_upscale.or(sizes.mask_upscale);
    set(&mut sizes.balance, &arguments.balance);
    images.check(&sizes, Task::Segmentation)?;
    let about_labels = [
        ("--void", arguments.void.is_some()),
        ("--label-values", arguments.label_values.is_some()),
    ];
    if let Some((flag, _)) = about_labels.iter().find(|(_, given)| *given && images.data.is_none())
    {
        return Err(format!("{flag} is for label images that are read: it needs --data").into());
    }
    let variants = common.what.variants(sizes.layers, VariantConfig::of_images)?;
    let device = open_device(&common.machine, &progress)?;
    let labels = ReadOptions {
        void: arguments.void,
        label_values: arguments.label_values.clone(),
        ..ReadOptions::default()
    };
    let data = images.find(Task::Segmentation, &mut sizes, settings.batch, labels, &progress)?;
    check_mask_upscale(&sizes, sizes.patch_of(data.shape))?;
    let mut task = progress.during("training a linear model, to compare with", || {
        ImageSegmentation::new(data, sizes, &device)
    })?;
    if let Some(score) = task.linear_baseline() {
        progress.line(&format!("a linear model gets a mean IoU of {:.1} %", 100.0 * score));
    }
    if let Some(start) = start.clone() {
        task = task.starting_from(start);
    }
    describe_image_start(&task, start.as_ref(), &variants, &device, &progress)?;
    train(&task, settings, &variants, common, device, &mut progress, ranks)
}

/// Says by the names of the flags what the model's configuration would refuse.
fn check_mask_upscale(sizes: &ImageSettings, patch: usize) -> Result<()> {
    let (upscale, width) = (sizes.mask_upscale_of(patch), sizes.width);
    if patch.is_multiple_of(upscale) && width.is_multiple_of(upscale) {
        return Ok(());
    }
    Err(format!("--mask-upscale {upscale} must divide --patch {patch} and --width {width}").into())
}
