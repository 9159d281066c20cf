//! The program `predict`: what it says of pictures is what the model computes of them.

mod common;
#[path = "../examples/predict/names.rs"]
mod names;

use common::programs::{digits, path_of, program, said, scenes, text_file};
use image::{GrayImage, ImageFormat, Luma, Rgb, RgbImage};
use neutreno::engine::{Device, Tensor};
use neutreno::open::{Found, ImageModel, Wanted};
use neutreno::tasks::images::{NOT_SEEN, class_colour};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

fn trained(name: &str, folder: &Path, flags: &str) -> PathBuf {
    let run = folder.join("run");
    let mut command = program(name);
    command.args(
        "--device cpu --threads 1 --layers 2 --width 16 --heads 2 --batch 4 --steps 8 --eval-every 4 --keep-checkpoints 20 \
         --patch 4"
            .split_whitespace(),
    );
    command.args(flags.split_whitespace());
    command.args(["--data", &path_of(&folder.join("data")), "--out", &path_of(&run)]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    run
}

fn predict(arguments: &[&str], folder: &Path) -> Output {
    let mut command = program("predict");
    command.args(["--device", "cpu", "--threads", "1"]).args(arguments);
    command.current_dir(folder).output().unwrap()
}

/// The rows of a table, each by its titles.
fn rows(path: &Path) -> Vec<Value> {
    let mut reader = csv::Reader::from_path(path).unwrap();
    let row = |row: Result<serde_json::Map<String, Value>, _>| Value::Object(row.unwrap());
    reader.deserialize().map(row).collect()
}

/// What a model computes of pixels, (channel, row, column), in bytes.
fn logits(model: &Path, pixels: &[u8], shape: [usize; 4]) -> Vec<f32> {
    let source = Found::at(model, &Wanted::default()).unwrap().one().unwrap();
    let device = Device::cpu();
    let opened = ImageModel::open(&source, &device).unwrap();
    let known = opened.preprocessing.unwrap();
    let plane = shape[2] * shape[3];
    let seen = pixels.iter().enumerate().map(|(index, byte)| {
        let channel = index / plane;
        (f32::from(*byte) / 255.0 - known.mean[channel]) / known.deviation[channel]
    });
    let images = Tensor::new(&seen.collect::<Vec<_>>(), shape, &device);
    opened.model.logits(&images).to_vec().unwrap()
}

fn planes(picture: &RgbImage) -> Vec<u8> {
    (0..3).flat_map(|channel| picture.pixels().map(move |pixel| pixel.0[channel])).collect()
}

/// Pictures of 8 × 8 pixels, red ones and blue ones.
fn colours(folder: &Path) {
    for (class, colour) in [("blue", [20, 30, 200]), ("red", [210, 40, 10])] {
        let place = folder.join(class);
        fs::create_dir_all(&place).unwrap();
        for number in 0..20_u8 {
            let picture = RgbImage::from_fn(8, 8, |x, y| {
                Rgb(colour.map(|part: u8| part.wrapping_add(number + (x * y) as u8)))
            });
            picture
                .save_with_format(place.join(format!("{number}.png")), ImageFormat::Png)
                .unwrap();
        }
    }
}

#[test]
fn classes_of_own_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    colours(&folder.join("data"));
    trained("image_classification", folder, "--variant transformer,svformer --seeds 1 --steps 40");
    fs::create_dir_all(folder.join("own/deep")).unwrap();
    let exact = image::open(folder.join("data/red/3.png")).unwrap().into_rgb8();
    exact.save(folder.join("own/a.png")).unwrap();
    let wide =
        RgbImage::from_fn(40, 20, |x, _| if x < 10 { Rgb([9; 3]) } else { Rgb([20, 30, 200]) });
    wide.save(folder.join("own/deep/a.png")).unwrap();
    fs::write(folder.join("own/notes.txt"), "nothing").unwrap();
    let output = predict(&["run", "own", "--out", "said"], folder);
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains("found 2 .png; left out: 1 .txt"), "{}", said(&output));
    for variant in ["transformer", "svformer"] {
        let rows = rows(&folder.join(format!("said/{variant}-seed1/predictions.csv")));
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[0]["file"], Path::new("own").join("a.png").to_str().unwrap());
        let model = folder.join(format!("run/{variant}-seed1"));
        for (row, pixels) in rows.iter().zip([planes(&exact), vec![0; 192]]) {
            let shares = ["blue", "red"].map(|class| row[class].as_f64().unwrap());
            assert!((shares[0] + shares[1] - 1.0).abs() < 1e-9);
            let likelier = if shares[0] > shares[1] { "blue" } else { "red" };
            assert_eq!((&row["class"], &row["variant"]), (&likelier.into(), &variant.into()));
            if row["height"] == 8 {
                let logits = logits(&model, &pixels, [1, 3, 8, 8]);
                let expected = 1.0 / (1.0 + f64::from(logits[1] - logits[0]).exp());
                assert!((shares[0] - expected).abs() < 1e-5, "{shares:?}, {expected}");
            }
        }
        // They are as different as can be, so the run has learnt them; of the wide one the middle counts.
        assert_eq!([&rows[0]["class"], &rows[1]["class"]], ["red", "blue"]);
    }
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.lines().count() == 4 && text.contains("a.png (SVFormer): red "), "{text}");

    // Of one picture it is told what was seen.
    let one = ["run/svformer-seed1", "own/deep/a.png", "--out", "one", "--json"];
    let output = predict(&one, folder);
    let words = "40×20 pixels, of which 20×20 are seen, from column 10 and row 0 on, as 8×8";
    assert!(said(&output).contains(words), "{}", said(&output));
    let seen = image::open(folder.join("one/seen.png")).unwrap().into_rgb8();
    // At the edge what was cut off is mixed in.
    assert_eq!((seen.dimensions(), seen.get_pixel(4, 4).0), ((8, 8), [20, 30, 200]));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&told["class"], &told["width"]), (&"blue".into(), &40.into()));
    // Weights of an earlier checkpoint say something else.
    let earlier =
        predict(&[&one[..2], &["--out", "then", "--json", "--use", "4"]].concat(), folder);
    let then: Value = serde_json::from_slice(&earlier.stdout).unwrap_or_else(|_| {
        panic!("{}", said(&earlier));
    });
    assert_ne!(then["probabilities"], told["probabilities"]);
}

#[test]
fn grey_models_see_colours_as_light() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    digits(&folder.join("data"), 30);
    trained("image_classification", folder, "--variant neutreno");
    let pixels: Vec<u8> = (0..64).map(|pixel| pixel * 3).collect();
    let grey = GrayImage::from_raw(8, 8, pixels.clone()).unwrap();
    grey.save(folder.join("grey.png")).unwrap();
    let colours = RgbImage::from_fn(8, 8, |x, y| Rgb([grey.get_pixel(x, y).0[0]; 3]));
    colours.save(folder.join("colours.png")).unwrap();
    let output = predict(&["run", "grey.png", "colours.png", "--out", "said"], folder);
    assert!(output.status.success(), "{}", said(&output));
    let rows = rows(&folder.join("said/predictions.csv"));
    assert_eq!(rows[0]["probability"], rows[1]["probability"]);
    let logits = logits(&folder.join("run"), &pixels, [1, 1, 8, 8]);
    let expected = 1.0 / (1.0 + f64::from(logits[1] - logits[0]).exp());
    assert!((rows[0]["0"].as_f64().unwrap() - expected).abs() < 1e-5);
}

#[test]
fn masks_of_own_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    scenes(&folder.join("data"));
    trained("image_segmentation", folder, "--variant resformer");
    let seen = image::open(folder.join("data/test/1.png")).unwrap().into_rgb8();
    // The same in the middle of more, which is cut off.
    let wide = RgbImage::from_fn(20, 8, |x, y| match x {
        4..16 => *seen.get_pixel(x - 4, y),
        _ => Rgb([77; 3]),
    });
    wide.save(folder.join("wide.png")).unwrap();
    let output = predict(&["run", "wide.png", "--out", "said"], folder);
    assert!(output.status.success(), "{}", said(&output));
    let logits = logits(&folder.join("run"), &planes(&seen), [1, 3, 8, 12]);
    let given = |x: usize, y: usize| {
        let logits = &logits[2 * (y * 12 + x)..][..2];
        u8::from(logits[1] > logits[0])
    };
    let mask = fs::read(folder.join("said/masks/wide.png.png")).unwrap();
    let mut decoder = png::Decoder::new(std::io::Cursor::new(&mask));
    decoder.set_transformations(png::Transformations::IDENTITY);
    let mut reader = decoder.read_info().unwrap();
    let mut indices = vec![0; reader.output_buffer_size().unwrap()];
    reader.next_frame(&mut indices).unwrap();
    assert_eq!(indices.len(), 20 * 8);
    let overlay = image::open(folder.join("said/overlays/wide.png.png")).unwrap().into_rgb8();
    let mut counts = [0.0; 2];
    for (place, index) in indices.iter().enumerate() {
        let (x, y) = (place % 20, place / 20);
        let expected = if (4..16).contains(&x) { given(x - 4, y) } else { NOT_SEEN };
        assert_eq!(*index, expected, "column {x}, row {y}");
        let over = if *index == NOT_SEEN { [0; 3] } else { class_colour((*index).into()) };
        let own = wide.get_pixel(x as u32, y as u32).0;
        let blended = [0, 1, 2].map(|part| u8::midpoint(own[part], over[part]));
        assert_eq!(overlay.get_pixel(x as u32, y as u32).0, blended);
        if *index != NOT_SEEN {
            counts[usize::from(*index)] += 1.0 / 96.0;
        }
    }
    let row = &rows(&folder.join("said/predictions.csv"))[0];
    for (class, share) in counts.iter().enumerate() {
        let found = row[class.to_string()].as_f64().unwrap();
        assert!((found - share).abs() < 1e-9, "{class}: {found}, not {share}");
    }
    let classes = rows(&folder.join("said/classes.csv"));
    assert_eq!(classes[1]["red"], class_colour(1)[0]);

    // Masks are label images: a segmenter learns from them what another one said.
    for split in ["train", "val", "test"] {
        let annotated = folder.join(format!("data/{split}annot"));
        let pictures = path_of(&folder.join("data").join(split));
        let output = predict(&["run", &pictures, "--out", split], folder);
        assert!(output.status.success(), "{}", said(&output));
        for entry in fs::read_dir(&annotated).unwrap() {
            let label = entry.unwrap().path();
            let name = label.file_name().unwrap().to_str().unwrap();
            fs::copy(folder.join(split).join("masks").join(format!("{name}.png")), &label).unwrap();
        }
    }
    fs::remove_dir_all(folder.join("run")).unwrap();
    trained("image_segmentation", folder, "--variant transformer");
}

#[test]
fn what_cannot_be_is_refused_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    digits(&folder.join("data"), 30);
    trained("image_classification", folder, "--variant neutreno");
    let text = text_file(folder);
    let mut command = program("lm_wikitext");
    command.args(
        "--device cpu --layers 2 --width 8 --heads 2 --context 8 --batch 2 --steps 2".split(' '),
    );
    command.args(["--variant", "svformer", "--data", &path_of(&text), "--out", "text-run"]);
    assert!(command.current_dir(folder).output().unwrap().status.success());
    GrayImage::from_pixel(8, 8, Luma([9])).save(folder.join("good.png")).unwrap();
    fs::write(folder.join("bad.png"), "no picture").unwrap();
    fs::create_dir(folder.join("empty")).unwrap();
    fs::create_dir(folder.join("full")).unwrap();
    fs::write(folder.join("full/precious"), "data").unwrap();
    for (arguments, words) in [
        (&["text-run", "good.png"][..], "its model is of text, and one of images is needed"),
        (&["run", "bad.png"], "bad.png"),
        (&["run", "good.png", "bad.png"], "leave such pictures out: --skip-broken"),
        (&["run", "nowhere.png"], "nowhere.png: there is no such file or folder"),
        (&["run", "empty"], "holds no pictures"),
        (&["nowhere", "good.png"], "nowhere: there is no such folder"),
        (&["run", "good.png", "--variant", "svformer"], "has no model svformer"),
        (&["run", "good.png", "--use", "3"], "no checkpoint of step 3"),
    ] {
        let output = predict(&[arguments, &["--out", "new"]].concat(), folder);
        let said = said(&output);
        assert!(!output.status.success() && said.contains(words), "{words}: {said}");
        assert!(!said.contains("panicked") && !folder.join("new").exists(), "{said}");
    }
    let output = predict(&["run", "good.png", "--out", "full"], folder);
    assert!(said(&output).contains("full is there already"), "{}", said(&output));
    assert_eq!(fs::read_dir(folder.join("full")).unwrap().count(), 1);
    let output = predict(&["run", "good.png", "bad.png", "--skip-broken", "--out", "new"], folder);
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains("left out: "), "{}", said(&output));
    assert_eq!(rows(&folder.join("new/predictions.csv")).len(), 1);
}

/// The names of results: nothing overwrites another's mask.
#[test]
fn names_are_there_once() {
    let files = ["x/a.jpg", "y/a.jpg", "z/2-a.jpg", "in/b/a.jpg"].map(PathBuf::from);
    let given = ["x/a.jpg", "y/a.jpg", "z/2-a.jpg", "in"].map(PathBuf::from);
    assert_eq!(names::names(&files, &given), ["a.jpg", "2-a.jpg", "2-2-a.jpg", "b-a.jpg"]);
}
