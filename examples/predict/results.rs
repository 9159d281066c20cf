//! What a model says of pictures, as files and as lines to show.

use crate::common::csv_file::CsvFile;
use crate::common::program::Result;
use crate::pictures::{Picture, Pictures, interleaved, write_png};
use neutreno::open::{ImageModel, Source};
use neutreno::run::write_atomically;
use neutreno::tasks::images::{NOT_SEEN, class_colour, mask_png};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

/// How many classes are shown of a picture.
const SHOWN: usize = 3;

/// The results of one model.
pub struct Results<'a> {
    source: &'a Source,
    folder: PathBuf,
    classes: Vec<String>,
    /// Height and width of what a segmenter sees.
    mask: Option<[usize; 2]>,
    table: CsvFile,
    lines: Vec<Value>,
}

impl<'a> Results<'a> {
    /// # Errors
    /// If folders cannot be made; of a segmenter with more classes than a mask can tell.
    pub fn new(source: &'a Source, model: &ImageModel, folder: &Path) -> Result<Results<'a>> {
        let config = model.config();
        let classes: Vec<String> = config.id2label.values().cloned().collect();
        let size = config.image_size;
        let mask = config.num_decoder_layers.is_some().then_some([size.height(), size.width()]);
        let titles =
            ["model", "variant", "seed", "file", "height", "width", "class", "probability"];
        let titles = titles.map(|title| match (title, mask) {
            ("probability", Some(_)) => "share".to_owned(),
            _ => title.to_owned(),
        });
        let table = CsvFile::new(titles.iter().chain(&classes));
        let results =
            Results { source, folder: folder.to_owned(), classes, mask, table, lines: Vec::new() };
        if mask.is_some() {
            results.begin_masks()?;
        }
        Ok(results)
    }

    fn begin_masks(&self) -> Result<()> {
        if self.classes.len() > usize::from(NOT_SEEN) {
            return Err(format!(
                "the model has {} classes, and a mask can tell {NOT_SEEN}",
                self.classes.len()
            )
            .into());
        }
        for name in ["masks", "overlays"] {
            let path = self.folder.join(name);
            fs::create_dir_all(&path)
                .map_err(|error| format!("cannot create {}: {error}", path.display()))?;
        }
        let mut table = CsvFile::new(["index", "class", "red", "green", "blue"]);
        for (class, name) in self.classes.iter().enumerate() {
            let [red, green, blue] = class_colour(class).map(|part| part.to_string());
            table.row([&class.to_string(), name, &red, &green, &blue]);
        }
        Ok(table.write(&self.folder.join("classes.csv"))?)
    }

    /// Takes in what a model says of a batch of pictures.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn add(
        &mut self,
        pictures: &Pictures,
        read: &[Picture],
        names: &[String],
        logits: &[f32],
    ) -> Result<()> {
        for (picture, logits) in read.iter().zip(logits.chunks(logits.len() / read.len())) {
            let shares = match self.mask {
                None => probabilities(logits),
                Some(size) => {
                    self.write_mask(pictures, picture, &names[picture.number], logits, size)?
                }
            };
            self.tell(picture, &shares);
        }
        Ok(())
    }

    /// Writes a mask and an overlay, and gives the share of each class among the pixels that were seen.
    fn write_mask(
        &self,
        pictures: &Pictures,
        picture: &Picture,
        name: &str,
        logits: &[f32],
        [_, width]: [usize; 2],
    ) -> Result<Vec<f64>> {
        let classes = self.classes.len();
        let given: Vec<u8> =
            logits.chunks_exact(classes).map(|logits| likeliest(logits) as u8).collect();
        let (size, whole) = (picture.seen.size, pictures.whole(picture.file)?);
        let places = (0..size[0]).flat_map(|row| (0..size[1]).map(move |column| (row, column)));
        let index = |(row, column)| {
            let place = picture.seen.place(row, column);
            place.map_or(NOT_SEEN, |[row, column]| given[row * width + column])
        };
        let indices: Vec<u8> = places.map(index).collect();
        let file = |kind: &str| self.folder.join(kind).join(format!("{name}.png"));
        write_atomically(&file("masks"), &mask_png(size, &indices))?;
        let mut colours = interleaved(&whole);
        for (pixel, index) in colours.chunks_exact_mut(3).zip(&indices) {
            let over = if *index == NOT_SEEN { [0; 3] } else { class_colour((*index).into()) };
            let blend = |(part, over): (&mut u8, u8)| *part = u8::midpoint(*part, over);
            pixel.iter_mut().zip(over).for_each(blend);
        }
        write_png(size, colours, &file("overlays"))?;
        let mut counts = vec![0_u64; classes];
        given.iter().for_each(|class| counts[usize::from(*class)] += 1);
        Ok(counts.iter().map(|count| *count as f64 / given.len() as f64).collect())
    }

    fn tell(&mut self, picture: &Picture, shares: &[f64]) {
        let mut order: Vec<usize> = (0..shares.len()).collect();
        order.sort_by(|a, b| shares[*b].total_cmp(&shares[*a]));
        let (variant, seed) = self.source.variant_and_seed().unzip();
        let (file, [height, width]) = (picture.file.to_string_lossy(), picture.seen.size);
        let best = order[0];
        let about = [
            self.source.name.clone(),
            variant.clone().unwrap_or_default(),
            seed.map(|seed| seed.to_string()).unwrap_or_default(),
            file.to_string(),
            height.to_string(),
            width.to_string(),
            self.classes[best].clone(),
            shares[best].to_string(),
        ];
        self.table.row(about.into_iter().chain(shares.iter().map(f64::to_string)));
        let shown = order.iter().take(SHOWN).filter(|class| shares[**class] >= 0.0005);
        let shown =
            shown.map(|class| format!("{} {:.1} %", self.classes[*class], 100.0 * shares[*class]));
        let said =
            format!("{file} ({}): {}", self.source.name, shown.collect::<Vec<_>>().join(", "));
        let named: serde_json::Map<String, Value> = self
            .classes
            .iter()
            .zip(shares)
            .map(|(name, share)| (name.clone(), json!(share)))
            .collect();
        let kind = if self.mask.is_some() { "shares" } else { "probabilities" };
        self.lines.push(json!({
            "model": self.source.name, "variant": variant, "seed": seed, "file": file,
            "height": height, "width": width, "class": self.classes[best], kind: named, "said": said,
        }));
    }

    /// Writes the table, and gives what is to be shown.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn finish(self) -> Result<Vec<Value>> {
        self.table.write(&self.folder.join("predictions.csv"))?;
        Ok(self.lines)
    }
}

fn likeliest(logits: &[f32]) -> usize {
    let larger =
        |best: usize, class: usize| if logits[class] > logits[best] { class } else { best };
    (1..logits.len()).fold(0, larger)
}

/// The probability of each class.
fn probabilities(logits: &[f32]) -> Vec<f64> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let parts: Vec<f64> = logits.iter().map(|logit| f64::from(logit - largest).exp()).collect();
    let sum: f64 = parts.iter().sum();
    parts.iter().map(|part| part / sum).collect()
}
