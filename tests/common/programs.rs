//! Running the programs as a user does.

use image::{GrayImage, ImageFormat, Luma, Rgb, RgbImage};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A program among the examples, which are built with the tests.
pub fn program(name: &str) -> Command {
    let mut path: PathBuf = std::env::current_exe().expect("this test's path");
    path.pop();
    path.set_file_name("examples");
    path.push(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    assert!(path.is_file(), "{} is built with the tests", path.display());
    let mut command = Command::new(path);
    command.stdin(Stdio::null());
    command
}

/// Flags of a small run of text.
pub const SMALL: &str = "--device cpu --threads 1 --variant transformer --layers 2 --width 16 --heads 2 \
                     --context 16 --batch 4 --eval-every 0 --eval-tokens 200 --sample-every 0";

/// A path as an argument.
pub fn path_of(path: &Path) -> String {
    path.to_str().expect("a name in UTF-8").into()
}

/// The results that a program printed last, with `--json`.
pub fn json(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().last().unwrap_or_default();
    serde_json::from_str(last).unwrap_or_else(|_| panic!("no JSON in {text:?}; {}", said(output)))
}

/// What a program wrote beside its results.
pub fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A text with little in it.
pub fn text_file(folder: &Path) -> PathBuf {
    let path = folder.join("text.txt");
    let text = "the cat sat on the mat and the dog sat on the log\n".repeat(200);
    std::fs::write(&path, text).expect("a file");
    path
}

/// Images of 8 × 8 pixels in MNIST's files: `train` of them for training, and ten test images.
pub fn digits(folder: &Path, train: u8) {
    std::fs::create_dir(folder).expect("a new folder");
    for (split, count) in [("train", train), ("t10k", 10)] {
        let header = |magic: u8, sizes: &[u8]| {
            let sizes = sizes.iter().flat_map(|size| [0, 0, 0, *size]);
            [0, 0, 8, magic].into_iter().chain(sizes).collect::<Vec<u8>>()
        };
        let mut pixels = header(3, &[count, 8, 8]);
        pixels.extend((0..usize::from(count) * 64).map(|i| (i * 7919 % 251) as u8));
        let mut labels = header(1, &[count]);
        labels.extend((0..count).map(|index| index % 2));
        let file = |name: &str| folder.join(format!("{split}-{name}-ubyte"));
        std::fs::write(file("images-idx3"), pixels).expect("a file");
        std::fs::write(file("labels-idx1"), labels).expect("a file");
    }
}

/// Pictures of 12 × 8 pixels, dark on the left and light on the right, which are the classes; a
/// column is void.
pub fn scenes(folder: &Path) {
    for (split, count) in [("train", 8), ("val", 4), ("test", 4)] {
        let [pictures, labels] = [split.to_string(), format!("{split}annot")].map(|name| {
            let path = folder.join(name);
            std::fs::create_dir_all(&path).unwrap();
            path
        });
        for number in 0..count {
            let right = |x: u32| u8::from(x > 3 + number);
            let picture = RgbImage::from_fn(12, 8, |x, y| Rgb([200 * right(x), y as u8, 9]));
            let label = |x, _| Luma([if x == 0 { 255 } else { right(x) }]);
            let name = format!("{number}.png");
            picture.save_with_format(pictures.join(&name), ImageFormat::Png).unwrap();
            let label = GrayImage::from_fn(12, 8, label);
            label.save_with_format(labels.join(&name), ImageFormat::Png).unwrap();
        }
    }
}
