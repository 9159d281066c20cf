//! What a picture becomes before a model sees it: Hugging Face's `preprocessor_config.json`.

use super::config::ImageSize;
use crate::json::{Keys, short};
use serde_json::{Value, json};

/// What a model of images is given instead of a picture's bytes.
///
/// ```
/// use neutreno_models::vision::{ImageSize, Preprocessing};
/// let text = r#"{
///     "do_normalize": true, "do_resize": true, "image_mean": [0.5, 0.5, 0.5],
///     "image_std": [0.5, 0.5, 0.5], "resample": 2, "size": {"height": 224, "width": 224}
/// }"#;
/// let file = Preprocessing::parse(text.as_bytes(), 3)?;
/// assert_eq!(file.size, Some(ImageSize::Square(224)));
/// assert_eq!((file.mean[0], file.deviation[0]), (0.5, 0.5));
/// assert_eq!(file.unused, [""; 0]);
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Preprocessing {
    /// The size that pictures are brought to, if they are.
    pub size: Option<ImageSize>,
    /// The model sees (byte / 255 − mean) / deviation: the mean of each channel.
    pub mean: Vec<f32>,
    /// The deviation of each channel.
    pub deviation: Vec<f32>,
    /// The keys that were not used, each with its value: they are not known here, or ask for what is
    /// not done.
    pub unused: Vec<String>,
}

/// Keys that name classes and formats, or hold what the size says too.
const WITHOUT_EFFECT: [&str; 10] = [
    "_processor_class",
    "data_format",
    "default_to_square",
    "do_convert_rgb",
    "feature_extractor_type",
    "image_processor_type",
    "input_data_format",
    "processor_class",
    "resample",
    "return_tensors",
];

impl Preprocessing {
    /// Reads the text of a `preprocessor_config.json`, of a model with so many channels.
    ///
    /// # Errors
    /// What is no JSON, or a key whose value is of another kind or does not fit: a message that names it.
    pub fn parse(text: &[u8], channels: usize) -> Result<Preprocessing, String> {
        let mut keys = Keys::parse(text)?;
        let resizes = keys.flag("do_resize")?.unwrap_or(true);
        let crops = keys.flag("do_center_crop")?.unwrap_or(false);
        let [size, crop] = [side(&mut keys, "size")?, side(&mut keys, "crop_size")?];
        let size = if crops { crop.or(size) } else { size.filter(|_| resizes) };
        let rescales = keys.flag("do_rescale")?.unwrap_or(true);
        let factor = keys.number("rescale_factor")?.unwrap_or(1.0 / 255.0);
        let normalizes = keys.flag("do_normalize")?.unwrap_or(true);
        let [mean, deviation] = [
            numbers(&mut keys, "image_mean", channels)?,
            numbers(&mut keys, "image_std", channels)?,
        ];
        if deviation.iter().any(|deviation| *deviation <= 0.0) {
            return Err("image_std must be more than 0 in each channel".into());
        }
        // In units of byte / 255: (byte · factor − mean) / deviation.
        let unit = if rescales { 255.0 * factor } else { 255.0 };
        if !(unit.is_finite() && unit > 0.0) {
            return Err(format!("rescale_factor is {factor}; it must be more than 0"));
        }
        // What is a few ulps off stands for 1.
        let unit = if (unit - 1.0).abs() < 1e-6 { 1.0 } else { unit };
        let [mean, deviation] = match normalizes {
            true => [mean, deviation],
            false => [vec![0.0; channels], vec![1.0; channels]],
        };
        let in_units = |values: Vec<f64>| values.iter().map(|x| (x / unit) as f32).collect();
        WITHOUT_EFFECT.iter().for_each(|key| drop(keys.take(key)));
        let unused = keys.rest().map(|(key, value)| format!("{key} ({})", short(value))).collect();
        Ok(Preprocessing { size, mean: in_units(mean), deviation: in_units(deviation), unused })
    }

    /// The contents of such a file.
    ///
    /// ```
    /// use neutreno_models::vision::{ImageSize, Preprocessing};
    /// let size = Some(ImageSize::new(28, 32));
    /// let (mean, deviation) = (vec![0.25], vec![0.5]);
    /// let one = Preprocessing { size, mean, deviation, unused: Vec::new() };
    /// let text = one.to_json().to_string();
    /// assert_eq!(Preprocessing::parse(text.as_bytes(), 1)?, one);
    /// # Ok::<(), String>(())
    /// ```
    pub fn to_json(&self) -> Value {
        let mut json = json!({
            "image_processor_type": "ViTImageProcessor",
            "do_resize": self.size.is_some(),
            "resample": 2,
            "do_rescale": true,
            "rescale_factor": 1.0 / 255.0,
            "do_normalize": true,
        });
        // By way of text, so that numbers in f32 keep their few digits.
        let short = |numbers: &[f32]| -> Vec<Value> {
            let digits = |x: &f32| serde_json::from_str(&x.to_string());
            numbers.iter().map(|x| digits(x).unwrap_or(Value::Null)).collect()
        };
        json["image_mean"] = short(&self.mean).into();
        json["image_std"] = short(&self.deviation).into();
        if let Some(size) = self.size {
            json["size"] = json!({ "height": size.height(), "width": size.width() });
        }
        json
    }
}

/// A size as files have it: one number, `height` and `width`, or the shortest edge.
fn side(keys: &mut Keys, key: &str) -> Result<Option<ImageSize>, String> {
    let Some(value) = keys.take(key) else { return Ok(None) };
    let wrong = format!("{key} is {}; it must be a size in pixels", short(&value));
    let pixels = |value: &Value| {
        value.as_u64().and_then(|side| u32::try_from(side).ok()).filter(|side| *side > 0)
    };
    let sides = match &value {
        Value::Object(sides) => match (sides.get("height"), sides.get("width")) {
            (Some(height), Some(width)) => [height, width],
            _ => [sides.get("shortest_edge").ok_or_else(|| wrong.clone())?; 2],
        },
        one => [one; 2],
    };
    let [height, width] = sides.map(pixels);
    let size = height.zip(width).map(|(h, w)| ImageSize::new(h as usize, w as usize));
    size.map(Some).ok_or(wrong)
}

/// A number for each channel; where there is none, a half.
fn numbers(keys: &mut Keys, key: &str, channels: usize) -> Result<Vec<f64>, String> {
    let Some(value) = keys.take(key) else { return Ok(vec![0.5; channels]) };
    let finite = |value: &Value| value.as_f64().filter(|number| number.is_finite());
    let found: Option<Vec<f64>> = match &value {
        Value::Array(all) => all.iter().map(finite).collect(),
        one => finite(one).map(|one| vec![one; channels]),
    };
    found.filter(|found| found.len() == channels).ok_or_else(|| {
        format!("{key} is {}; it must be {channels} numbers, one a channel", short(&value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: Value) -> Result<Preprocessing, String> {
        Preprocessing::parse(json.to_string().as_bytes(), 3)
    }

    #[test]
    fn sizes_and_moments_are_found_wherever_they_stand() {
        let size = |json: Value| read(json).unwrap().size;
        let square = Some(ImageSize::Square(224));
        assert_eq!(size(json!({"size": 224})), square);
        assert_eq!(size(json!({"size": {"shortest_edge": 224}})), square);
        let cropped = json!({"size": 256, "crop_size": {"height": 224, "width": 224},
            "do_center_crop": true});
        assert_eq!(size(cropped), square);
        assert_eq!(size(json!({"size": 224, "do_resize": false})), None);
        assert_eq!(
            size(json!({"size": {"height": 2, "width": 3}})),
            Some(ImageSize::Sides([2, 3]))
        );
        let moments = |json: Value| {
            let found = read(json).unwrap();
            (found.mean[0], found.deviation[0])
        };
        assert_eq!(moments(json!({})), (0.5, 0.5));
        assert_eq!(moments(json!({"image_mean": [0.1, 0.2, 0.3], "image_std": 0.25})), (0.1, 0.25));
        // As they are used: byte / 255 is what a mean is taken from.
        assert_eq!(moments(json!({"do_normalize": false})), (0.0, 1.0));
        assert_eq!(moments(json!({"rescale_factor": 2.0 / 255.0})), (0.25, 0.25));
        assert_eq!(
            moments(json!({"do_rescale": false, "do_normalize": false})),
            (0.0, 1.0 / 255.0)
        );
        assert_eq!(moments(json!({"rescale_factor": 0.00392156862745098})), (0.5, 0.5));
        assert_eq!(read(json!({"do_blur": true})).unwrap().unused, ["do_blur (true)"]);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        for (file, words) in [
            (json!({"size": "large"}), "size is \"large\"; it must be a size in pixels"),
            (json!({"size": {"longest_edge": 8}}), "size is {\"longest_edge\":8}"),
            (json!({"size": 0}), "size is 0"),
            (json!({"image_mean": [0.5]}), "image_mean is [0.5]; it must be 3 numbers"),
            (json!({"image_std": [0.5, 0.0, 0.5]}), "image_std must be more than 0"),
            (json!({"rescale_factor": 0}), "rescale_factor is 0"),
            (json!({"do_resize": 1}), "do_resize is 1; it must be true or false"),
        ] {
            let problem = read(file.clone()).expect_err(&file.to_string());
            assert!(problem.contains(words), "{file}: {problem}");
        }
    }
}
