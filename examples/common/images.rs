//! The flags that the programs for images share.

use super::arguments::{Common, names_of, number, place, positive, set, share};
use super::program::Result;
use super::progress::Progress;
use super::sizes::{Sizes, check_batch, check_heads, check_numbers};
use clap::{ArgAction, Args};
use neutreno::data::Source;
use neutreno::data::images::{Broken, ImageData, ImageError, ImageShape, ReadOptions, Task};
use neutreno::tasks::images::{ImageSettings, ImageStart};
use neutreno::training::Settings;
use std::path::PathBuf;

/// All of them.
#[derive(Debug, Args)]
pub struct Images {
    #[command(flatten)]
    pub common: Common,
    /// A set of sizes and settings; flags below change single ones
    #[arg(long, value_parser = names_of(&ImageSettings::PRESETS), default_value = "tiny", help_heading = "What")]
    pub preset: String,

    #[command(flatten, next_help_heading = "Model")]
    pub sizes: Sizes,
    /// Side of the patches in pixels; must divide both sides of the images [default: the largest
    /// such up to 8, more for large images, or what the preset says]
    #[arg(long, value_parser = positive, help_heading = "Model")]
    pub patch: Option<usize>,
    /// Whether a class token goes through the encoder with the patches
    #[arg(long, help_heading = "Model")]
    pub class_token: Option<bool>,
    /// The probability with which an image skips a branch of the last block (stochastic depth)
    #[arg(long, value_parser = share::<f32>, help_heading = "Model")]
    pub drop_path: Option<f32>,

    /// Folder with the images [default: generated ones]
    #[arg(long, value_name = "DIR", value_parser = place(), help_heading = "Images")]
    pub data: Option<PathBuf>,
    /// Scale pictures in folders to this size [default: as they are; 224x224 for deit-tiny]
    #[arg(long, value_parser = size, value_name = "HEIGHTxWIDTH", help_heading = "Images")]
    pub image_size: Option<[usize; 2]>,
    /// The names of the classes, in order of their index; for a folder a class, the folders in
    /// another order or new names for all [default: from the data]
    #[arg(long, value_name = "NAME,...", action = ArgAction::Set, value_delimiter = ',', help_heading = "Images")]
    pub classes: Option<Vec<String>>,
    /// What shows where pictures are transparent: white, black or a colour as #rrggbb
    /// [default: white]
    #[arg(long, value_parser = colour, value_name = "COLOUR", help_heading = "Images")]
    pub ground: Option<[u8; 3]>,
    /// Leave broken pictures out and count them, instead of stopping at the first
    #[arg(long, help_heading = "Images")]
    pub skip_broken: bool,
    /// Score so many validation images while training
    #[arg(long, value_name = "IMAGES", value_parser = positive, help_heading = "Images")]
    pub eval_images: Option<usize>,

    /// Train on images as they are, unless flags below say otherwise
    #[arg(long, help_heading = "Changing images")]
    pub no_augmentation: bool,
    /// Move images by up to so many pixels
    #[arg(long, value_name = "PIXELS", value_parser = padding, help_heading = "Changing images")]
    pub padding: Option<usize>,
    /// The probability of turning left and right around [default: the preset's; 0 for digits,
    /// letters, and classes that differ by side]
    #[arg(long, value_name = "SHARE", help_heading = "Changing images")]
    pub flip: Option<f32>,
    /// The least and the largest magnification
    #[arg(long, value_parser = range, value_name = "LEAST,MOST", help_heading = "Changing images")]
    pub scale: Option<[f32; 2]>,
    /// How much brightness, contrast and saturation change, from 0 to 1
    #[arg(long, value_name = "SHARE", help_heading = "Changing images")]
    pub color_jitter: Option<f32>,
    /// How many random changes of colour and geometry (RandAugment)
    #[arg(long, value_name = "COUNT", help_heading = "Changing images")]
    pub operations: Option<usize>,
    /// How strong they are, from 0 to 1
    #[arg(long, value_name = "SHARE", help_heading = "Changing images")]
    pub magnitude: Option<f32>,
}

fn size(text: &str) -> std::result::Result<[usize; 2], String> {
    let (height, width) = text.split_once('x').ok_or("two numbers are needed, as in 120x160")?;
    Ok([positive(height)?, positive(width)?])
}

/// A colour as typed.
pub fn colour(text: &str) -> std::result::Result<[u8; 3], String> {
    let digits = match text {
        "white" => "ffffff",
        "black" => "000000",
        _ => text.strip_prefix('#').unwrap_or(text),
    };
    let number = u32::from_str_radix(digits, 16).ok().filter(|_| digits.len() == 6);
    let number = number.ok_or("white, black, or six hexadecimal digits, as in #ff8000")?;
    let [_, red, green, blue] = number.to_be_bytes();
    Ok([red, green, blue])
}

fn padding(text: &str) -> std::result::Result<usize, String> {
    const MOST: usize = 4096;
    match number(text)? {
        value if value > MOST => Err(format!("must be at most {MOST}")),
        value => Ok(value),
    }
}

fn range(text: &str) -> std::result::Result<[f32; 2], String> {
    let (least, most) = text.split_once(',').ok_or("two numbers are needed, as in 0.75,1.5")?;
    Ok([number(least)?, number(most)?])
}

/// The widest part of a block.
fn widest(sizes: &ImageSettings) -> usize {
    sizes.feed_forward.unwrap_or(4 * sizes.width).max(sizes.width)
}

/// What is wrong with the images, with the flag that helps.
fn in_flags(error: ImageError) -> Box<dyn std::error::Error> {
    match error {
        ImageError::BrokenSample(sample) => {
            format!("{sample}; repair or remove it, or leave such pictures out: --skip-broken")
                .into()
        }
        error => error.into(),
    }
}

impl Images {
    /// The preset with what the flags change.
    ///
    /// # Errors
    /// What contradicts what, by the names of the flags.
    pub fn settings(
        &self,
        task: Task,
        start: Option<&ImageStart>,
    ) -> std::result::Result<(ImageSettings, Settings), String> {
        let (mut sizes, mut training) =
            ImageSettings::preset(&self.preset, task).expect("clap knows the presets");
        set(&mut sizes.layers, &self.sizes.layers);
        set(&mut sizes.width, &self.sizes.width);
        set(&mut sizes.heads, &self.sizes.heads);
        set(&mut sizes.class_token, &self.class_token);
        set(&mut sizes.drop_path, &self.drop_path);
        set(&mut sizes.label_smoothing, &self.sizes.label_smoothing);
        set(&mut sizes.evaluation_images, &self.eval_images);
        sizes.patch = self.patch.or(sizes.patch);
        sizes.feed_forward = self.sizes.feed_forward.or(sizes.feed_forward);
        let augmentation = &mut sizes.augmentation;
        if self.no_augmentation {
            *augmentation = neutreno::data::images::Augmentation::none();
        }
        set(&mut augmentation.padding, &self.padding);
        set(&mut augmentation.flip, &self.flip);
        set(&mut augmentation.scale, &self.scale);
        set(&mut augmentation.color_jitter, &self.color_jitter);
        set(&mut augmentation.operations, &self.operations);
        set(&mut augmentation.magnitude, &self.magnitude);
        self.common.apply(&mut training)?;
        match start {
            Some(start) => start.sizes(&mut sizes),
            None => check_heads(sizes.width, sizes.heads)?,
        }
        let [layers, width] = [("--layers", sizes.layers), ("--width", sizes.width)];
        let inside = ("a feed-forward part of", widest(&sizes));
        check_numbers("parameters", &[layers, width, inside])?;
        Ok((sizes, training))
    }

    /// That nothing is asked for that comes with the model to start from.
    ///
    /// # Errors
    /// If it is, by the name of the flag.
    pub fn check_start(&self) -> std::result::Result<(), String> {
        self.common.start.check(&[
            ("--layers", self.sizes.layers.is_some(), "sizes"),
            ("--width", self.sizes.width.is_some(), "sizes"),
            ("--heads", self.sizes.heads.is_some(), "sizes"),
            ("--feed-forward", self.sizes.feed_forward.is_some(), "sizes"),
            ("--patch", self.patch.is_some(), "patches"),
            ("--class-token", self.class_token.is_some(), "tokens"),
        ])
    }

    /// Checks what depends on the kind of task alone.
    ///
    /// # Errors
    /// A flag that is out of its range or not for this task.
    pub fn check(&self, sizes: &ImageSettings, task: Task) -> std::result::Result<(), String> {
        let flag = |problem: String| format!("--{problem}");
        sizes.augmentation.check(task).map_err(flag)?;
        if self.magnitude.is_some() && sizes.augmentation.operations == 0 {
            return Err("--magnitude says how strong --operations are: give how many, too".into());
        }
        if task == Task::Segmentation && self.class_token.is_some() {
            return Err("--class-token has no effect here: a segmenter does without".into());
        }
        let for_files = [
            ("--image-size", self.image_size.is_some()),
            ("--classes", self.classes.is_some()),
            ("--ground", self.ground.is_some()),
            ("--skip-broken", self.skip_broken),
        ];
        match for_files.iter().find(|(_, given)| *given && self.data.is_none()) {
            Some((flag, _)) => Err(format!("{flag} is for images that are read: it needs --data")),
            None => Ok(()),
        }
    }

    /// Reads the images, or makes them, and says what they are and what is done with them. What the
    /// data decide is put into `sizes`. `batch` is how many are in a batch, `labels` tells of label
    /// images.
    ///
    /// # Errors
    /// If they cannot be read, or patches do not fit them.
    pub fn find(
        &self,
        task: Task,
        sizes: &mut ImageSettings,
        batch: usize,
        labels: ReadOptions,
        progress: &Progress,
    ) -> Result<ImageData> {
        let usual = (self.preset == "deit-tiny").then_some([224, 224]);
        let options = ReadOptions {
            broken: if self.skip_broken { Broken::Skip } else { Broken::Stop },
            size: self.image_size.or(usual),
            classes: self.classes.clone(),
            ground: self.ground,
            ..labels
        };
        let what = if self.data.is_some() { "reading the images" } else { "drawing images" };
        let find = || ImageData::find(self.data.as_deref(), task, &options);
        let data = progress.during(what, find).map_err(in_flags)?;
        data.describe().iter().for_each(|line| progress.line(line));
        if matches!(data.source, Source::Generated(_)) {
            progress.line("  (no --data was given: these are drawn by this program)");
        }
        let ImageShape { height, width, .. } = data.shape;
        if self.image_size.is_some_and(|asked| asked != [height, width]) {
            return Err(format!(
                "--image-size scales pictures that are files; these images have {width}×{height} \
                 pixels, and are used as they are"
            )
            .into());
        }
        self.choose_flip(&data, sizes, progress);
        self.check_patches(sizes, batch, data.shape)?;
        let patch = sizes.patch_of(data.shape);
        let patches = (height / patch) * (width / patch);
        let [near_height, near_width] = ImageSettings::near(data.shape);
        let hint = match sizes.patch {
            None if patch < 4 && patches > 256 => format!(
                "; larger ones do not divide both sides, but would with --image-size \
                 {near_height}x{near_width}"
            ),
            _ => String::new(),
        };
        progress.line(&format!("  patches of {patch}×{patch} pixels, {patches} an image{hint}"));
        Ok(data)
    }

    /// Images that differ by side are not mirrored, unless that was asked for.
    fn choose_flip(&self, data: &ImageData, sizes: &mut ImageSettings, progress: &Progress) {
        let flip = &mut sizes.augmentation.flip;
        if self.flip.is_some() || *flip == 0.0 {
            return;
        }
        match data.sided() {
            Some(why) => {
                *flip = 0.0;
                progress.line(&format!("  images are not mirrored, since {why} (--flip 0.5 does)"));
            }
            None => progress.line(&format!(
                "  a share of {flip} of the training images is mirrored; if left and right matter: \
                 --flip 0"
            )),
        }
    }

    /// Whether patches divide images, and are not so many, or images in a batch, that this can't be
    /// meant.
    fn check_patches(&self, sizes: &ImageSettings, batch: usize, shape: ImageShape) -> Result<()> {
        const MOST: usize = 4096;
        let ImageShape { channels, height, width } = shape;
        let patch = sizes.patch_of(shape);
        let [near_height, near_width] = ImageSettings::near(shape);
        let divides = height.is_multiple_of(patch) && width.is_multiple_of(patch);
        if !divides && self.common.start.from.is_some() {
            return Err(format!(
                "the model to start from (--from) has patches of {patch}×{patch} pixels, which do not \
                 divide images of {width}×{height}; scale pictures in folders with --image-size"
            )
            .into());
        }
        if !divides {
            return Err(format!(
                "--patch {patch} does not divide images of {width}×{height} pixels; choose a \
                 divisor of both sides, or another --image-size for pictures in folders"
            )
            .into());
        }
        let patches = (height / patch) * (width / patch);
        if patches > MOST && self.patch.is_none() {
            return Err(format!(
                "images of {width}×{height} pixels would be {patches} patches of {patch}×{patch} \
                 pixels each, as no larger ones divide both sides: scale pictures in folders, as with \
                 --image-size {near_height}x{near_width}, or choose --patch"
            )
            .into());
        }
        let inside = ("a feed-forward part of", widest(sizes));
        check_numbers(
            "numbers in one tensor",
            &[("--batch", batch), ("patches", patches), inside],
        )?;
        let pixels = height * width * (channels + 1);
        check_batch(batch, &format!("of {height}x{width} pixels"), size_of::<f32>() * pixels)?;
        Ok(())
    }
}
