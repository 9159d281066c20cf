//! Reading images: every format, every wrong input with the error that names it, and real data
//! where there is some.

#[path = "images/folders.rs"]
mod folders;
#[path = "images/pictures.rs"]
mod pictures;

use flate2::Compression;
use flate2::write::GzEncoder;
use neutreno::data::images::{Broken, ImageData, ReadOptions, Task, VOID};
use png::{BitDepth, ColorType};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

fn read(folder: &Path) -> ImageData {
    ImageData::read(folder, &ReadOptions::default()).unwrap()
}

/// The error of reading a folder.
fn refusal(folder: &Path) -> String {
    ImageData::read(folder, &ReadOptions::default()).unwrap_err().to_string()
}

fn skipping() -> ReadOptions {
    ReadOptions { broken: Broken::Skip, ..ReadOptions::default() }
}

fn assert_names(message: &str, parts: &[&str]) {
    assert!(parts.iter().all(|part| message.contains(part)), "{parts:?} are not all in: {message}");
}

// idx files.

fn idx(sizes: &[u32], bytes: impl IntoIterator<Item = u8>) -> Vec<u8> {
    let mut file = vec![0, 0, 8, sizes.len() as u8];
    sizes.iter().for_each(|size| file.extend(size.to_be_bytes()));
    file.extend(bytes);
    file
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

/// Thirty training and ten test images of 2×3 pixels in two classes.
fn idx_folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (split, count) in [("train", 30_u8), ("t10k", 10)] {
        let images = idx(&[u32::from(count), 2, 3], (0..count).flat_map(|index| [index; 6]));
        let labels = idx(&[u32::from(count)], (0..count).map(|index| index % 2));
        fs::write(folder.path().join(format!("{split}-images-idx3-ubyte")), images).unwrap();
        let name = format!("{split}-labels.idx1-ubyte.gz");
        fs::write(folder.path().join(name), gzip(&labels)).unwrap();
    }
    folder
}

#[test]
fn idx_files_are_read() {
    let folder = idx_folder();
    let data = read(folder.path());
    assert_eq!((data.task, data.shape.channels), (Task::Classification, 1));
    assert_eq!((data.shape.height, data.shape.width), (2, 3));
    assert_eq!(
        data.splits.as_ref().map(|set| set.len()).iter().collect::<Vec<_>>(),
        [&26, &4, &10]
    );
    assert_eq!(data.classes, ["0", "1"]);
    for set in data.splits.iter() {
        for index in 0..set.len() {
            assert_eq!(u16::from(set.image(index)[5]) % 2, set.labels(index)[0]);
        }
    }
}

#[test]
fn wrong_idx_files_are_refused() {
    let image_name = "train-images-idx3-ubyte";
    let whole = idx(&[30, 2, 3], [0; 180]);
    for (content, parts) in [
        (whole[..100].to_vec(), ["cut short", "180 bytes"]),
        (whole[..7].to_vec(), ["cut short", "fetch it again"]),
        (gzip(&whole[..100]), ["cut short", "84 of 180 bytes"]),
        (gzip(&whole)[..20].to_vec(), ["cut short", "fetch it again"]),
        (idx(&[u32::MAX; 3], []), ["cut short", "promises 79228162458924105385300197375"]),
        ([&whole[..], &[0]].concat(), ["goes on after", "180 bytes"]),
        (idx(&[180], [0; 180]), ["begins with [00, 00, 08, 01]", "no idx file"]),
        (b"<html>not found</html>".to_vec(), ["begins with [3c, 68, 74, 6d]", "no idx file"]),
        (
            [&gzip(&whole)[..], &[0; 512], b"something else"].concat(),
            ["damaged gzip data", "fetch it again"],
        ),
        (idx(&[29, 2, 3], [0; 174]), ["30 labels for the 29 images", "train-labels"]),
    ] {
        let folder = idx_folder();
        fs::write(folder.path().join(image_name), content).unwrap();
        assert_names(&refusal(folder.path()), &[image_name, parts[0], parts[1]]);
    }
    let folder = idx_folder();
    fs::remove_file(folder.path().join(image_name)).unwrap();
    assert_names(&refusal(folder.path()), &["lacks train-images-idx3-ubyte"]);
}

#[test]
fn labels_without_a_name_are_refused() {
    let folder = idx_folder();
    let options = ReadOptions { classes: Some(vec!["even".into()]), ..ReadOptions::default() };
    let message = ImageData::read(folder.path(), &options).unwrap_err().to_string();
    assert_names(
        &message,
        &["labels go up to 1", "takes 2 names of classes, and 1 is given: even"],
    );
}

// CIFAR.

#[test]
fn cifar_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let records = |count: u8, labels: usize| -> Vec<u8> {
        (0..count)
            .flat_map(|index| [vec![index % 10; labels], vec![index; 3072]].concat())
            .collect()
    };
    for number in 1..=5 {
        fs::write(folder.path().join(format!("data_batch_{number}.bin")), records(20, 1)).unwrap();
    }
    let test = folder.path().join("test_batch.bin");
    fs::write(&test, records(10, 1)).unwrap();
    let data = read(folder.path());
    assert_eq!((data.splits.train.len(), data.splits.validation.len()), (90, 10));
    assert_eq!((data.shape.elements(), data.classes[9].as_str()), (3072, "truck"));
    assert_eq!((data.splits.test.image(7)[0], data.splits.test.labels(7)), (7, &[7][..]));

    fs::write(&test, &records(10, 1)[1..]).unwrap();
    assert_names(&refusal(folder.path()), &["test_batch.bin", "30729 bytes", "3073 bytes each"]);
    fs::write(&test, [vec![0; 3073], vec![12; 3073]].concat()).unwrap();
    assert_names(&refusal(folder.path()), &["test_batch.bin", "image 1", "label 12", "10 classes"]);
    fs::remove_file(&test).unwrap();
    assert_names(&refusal(folder.path()), &["test_batch.bin", "missing"]);

    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("train.bin"), records(40, 2)).unwrap();
    fs::write(folder.path().join("test.bin"), records(10, 2)).unwrap();
    let names: String = (0..100).map(|number| format!("name {number}\n")).collect();
    fs::write(folder.path().join("fine_label_names.txt"), names).unwrap();
    let data = read(folder.path());
    assert_eq!((data.splits.test.labels(9), data.classes.len()), (&[9][..], 100));
}

// Pictures.

fn png(path: &Path, size: [u32; 2], colour: ColorType, depth: BitDepth, bytes: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut encoder = png::Encoder::new(fs::File::create(path).unwrap(), size[0], size[1]);
    encoder.set_color(colour);
    encoder.set_depth(depth);
    if colour == ColorType::Indexed {
        encoder.set_palette(&[128, 0, 0, 0, 128, 0, 0, 0, 128, 255, 255, 255]);
    }
    encoder.write_header().unwrap().write_image_data(bytes).unwrap();
}

fn colour_png(path: &Path, [width, height]: [u32; 2], colour: [u8; 3]) {
    let bytes = colour.repeat((width * height) as usize);
    png(path, [width, height], ColorType::Rgb, BitDepth::Eight, &bytes);
}

/// A picture with a header that promises more than there is.
fn huge_header(path: &Path) {
    let encoder = png::Encoder::new(fs::File::create(path).unwrap(), 60_000, 60_000);
    encoder.write_header().unwrap().write_chunk(png::chunk::IDAT, &[0; 30]).unwrap();
}

/// Twelve pictures of 4×2 pixels in each of two classes, without splits.
fn class_folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (class, red) in [("cat", 10), ("dog", 200)] {
        for number in 0..12 {
            let path = folder.path().join(format!("{class}/{number:02}.png"));
            colour_png(&path, [4, 2], [red, number, 0]);
        }
    }
    folder
}

#[test]
fn folders_of_pictures_are_read() {
    let folder = class_folder();
    fs::write(folder.path().join("dog/notes.txt"), "not a picture").unwrap();
    let data = read(folder.path());
    assert_eq!(data.classes, ["cat", "dog"]);
    assert_eq!(data.splits.as_ref().map(|set| set.len()).iter().collect::<Vec<_>>(), [&18, &2, &4]);
    for set in data.splits.iter() {
        for index in 0..set.len() {
            let red = if set.labels(index) == [0] { 10 } else { 200 };
            assert_eq!(set.image(index)[..8], [red; 8]);
            assert_eq!(set.image(index)[16..], [0; 8]);
        }
    }
    assert_eq!(data.hashes, read(folder.path()).hashes);

    // The same in folders a split; the only one beside train is for testing.
    let split = tempfile::tempdir().unwrap();
    for name in ["train", "val"] {
        for class in ["cat", "dog"] {
            fs::create_dir_all(split.path().join(name)).unwrap();
            let (from, to) = (folder.path().join(class), split.path().join(name).join(class));
            fs::create_dir(&to).unwrap();
            for number in 0..12 {
                let file = format!("{number:02}.png");
                fs::copy(from.join(&file), to.join(&file)).unwrap();
            }
        }
    }
    let lengths = read(split.path()).splits.as_ref().map(|set| set.len());
    assert_eq!(lengths.iter().collect::<Vec<_>>(), [&20, &4, &24]);
    fs::create_dir(split.path().join("val/cow")).unwrap();
    assert_names(&refusal(split.path()), &["val/cow", "no class of this name"]);
}

#[test]
fn broken_pictures_stop_or_are_skipped() {
    type Damage = fn(&Path);
    let damages: [(Damage, &[&str]); 6] = [
        (
            |path| fs::write(path, b"not a picture").unwrap(),
            &["not a PNG, JPEG, WebP or BMP picture"],
        ),
        (huge_header, &["can't hold the 60000×60000 pixels"]),
        (|path| fs::write(path, &fs::read(path).unwrap()[..60]).unwrap(), &["damaged picture"]),
        (|path| fs::write(path, b"").unwrap(), &["not a PNG, JPEG, WebP or BMP picture"]),
        (|path| colour_png(path, [5, 2], [1; 3]), &["5×2 pixels", "most are 4×2", "--image-size"]),
        (
            |path| {
                fs::remove_file(path).unwrap();
                fs::create_dir(path).unwrap();
            },
            &["directory"],
        ),
    ];
    for (damage, parts) in damages {
        let folder = class_folder();
        damage(&folder.path().join("dog/03.png"));
        let message = refusal(folder.path());
        assert_names(&message, &[&["dog/03.png", "--skip-broken"], parts].concat());
        let data = ImageData::read(folder.path(), &skipping()).unwrap();
        assert_eq!(data.splits.iter().map(|set| set.len()).sum::<usize>(), 23);
        assert_eq!(data.skipped.len(), 1);
        assert_eq!(data.skipped[0].path, folder.path().join("dog/03.png"));
        let shown = data.describe().join("\n");
        assert_names(&shown, &["broken samples that were skipped: 1", "dog/03.png", "cat, dog"]);
    }
    let folder = class_folder();
    for number in 0..12 {
        fs::write(folder.path().join(format!("cat/{number:02}.png")), "broken").unwrap();
    }
    let message = ImageData::read(folder.path(), &skipping()).unwrap_err().to_string();
    assert_names(&message, &["every picture of the class cat is broken"]);
}

#[test]
fn mixed_sizes_can_be_scaled() {
    let folder = class_folder();
    colour_png(&folder.path().join("dog/03.png"), [30, 70], [200, 3, 0]);
    let options = ReadOptions { size: Some([6, 6]), ..ReadOptions::default() };
    let data = ImageData::read(folder.path(), &options).unwrap();
    assert_eq!(data.splits.iter().map(|set| set.len()).sum::<usize>(), 24);
    assert_eq!((data.shape.height, data.shape.width), (6, 6));
}

#[test]
fn wrong_folders_are_refused() {
    let folder = class_folder();
    fs::create_dir(folder.path().join("empty")).unwrap();
    assert_names(&refusal(folder.path()), &["empty", "an empty class"]);

    let folder = tempfile::tempdir().unwrap();
    assert_names(&refusal(folder.path()), &["no images in a known layout", "MNIST"]);
    assert_names(&refusal(&folder.path().join("nowhere")), &["no data at", "nowhere"]);
    let file = folder.path().join("file.png");
    colour_png(&file, [1, 1], [0; 3]);
    assert_names(&refusal(&file), &["file.png", "give the folder"]);
    colour_png(&folder.path().join("only/1.png"), [1, 1], [0; 3]);
    assert_names(&refusal(folder.path()), &["1 class folder, only/", "at least 2"]);

    let folder = class_folder();
    let wrong = ImageData::find(Some(folder.path()), Task::Segmentation, &skipping());
    assert_names(&wrong.unwrap_err().to_string(), &["for classification", "needs", "segmentation"]);
}

/// The system's refusal is an error with the path; for one picture it can be skipped.
#[cfg(unix)]
#[test]
fn what_may_not_be_read_is_named() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    // A link to itself can be read by no one, not even by root.
    let loops = |path: &Path| {
        fs::remove_file(path).unwrap();
        symlink(path, path).unwrap();
    };
    let folder = class_folder();
    loops(&folder.path().join("dog/03.png"));
    assert_names(&refusal(folder.path()), &["dog/03.png", "cannot be read"]);
    assert_eq!(ImageData::read(folder.path(), &skipping()).unwrap().skipped.len(), 1);
    let folder = idx_folder();
    loops(&folder.path().join("train-images-idx3-ubyte"));
    assert_names(&refusal(folder.path()), &["train-images", "cannot read"]);

    let folder = class_folder();
    let closed = folder.path().join("cat");
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
    if fs::read_dir(&closed).is_ok() {
        println!("left out: a folder without permission, since this user may read everything");
    } else {
        assert_names(&refusal(folder.path()), &["cat", "cannot read", "permissions"]);
    }
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o755)).unwrap();
}

// Segmentation.

/// Three splits of four pictures of 4×2 pixels, with label images in all forms.
fn segmentation_folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for split in ["train", "val", "test"] {
        for number in 0..4 {
            let path = |suffix| folder.path().join(format!("{split}{suffix}/{number}.png"));
            colour_png(&path(""), [4, 2], [number; 3]);
            let (colour, depth, bytes): (_, _, &[u8]) = match number {
                0 => (ColorType::Grayscale, BitDepth::Eight, &[0, 1, 2, 255, 0, 0, 0, 0]),
                1 => (ColorType::Indexed, BitDepth::Eight, &[0, 1, 2, 3, 3, 2, 1, 0]),
                2 => (ColorType::Indexed, BitDepth::Two, &[0b00_01_10_11, 0b11_10_01_00]),
                _ => (ColorType::Indexed, BitDepth::One, &[0b0110_0000, 0b1111_0000]),
            };
            png(&path("annot"), [4, 2], colour, depth, bytes);
        }
    }
    folder
}

#[test]
fn segmentation_is_read() {
    let folder = segmentation_folder();
    let data = read(folder.path());
    assert_eq!((data.task, data.classes.len()), (Task::Segmentation, 4));
    for set in data.splits.iter() {
        assert_eq!(set.len(), 4);
        assert_eq!(set.labels(0), [0, 1, 2, VOID, 0, 0, 0, 0]);
        assert_eq!(set.labels(1), [0, 1, 2, 3, 3, 2, 1, 0]);
        assert_eq!(set.labels(2), set.labels(1));
        assert_eq!(set.labels(3), [0, 1, 1, 0, 1, 1, 1, 1]);
    }
    assert_eq!(data.class_counts(&data.splits.test), [11, 11, 5, 4]);

    // Names and void from the user.
    let names = ["a", "b", "c"].map(String::from).to_vec();
    let mut options = ReadOptions { void: Some(3), classes: Some(names), ..skipping() };
    let data = ImageData::read(folder.path(), &options).unwrap();
    assert_eq!(data.skipped.len(), 3);
    assert_names(
        &data.skipped[0].reason,
        &["class index 255 in row 0, column 3", "classes go from 0 to 2"],
    );
    assert_eq!(data.splits.train.labels(0), [0, 1, 2, VOID, VOID, 2, 1, 0]);
    // Scaled to a square, of which the middle is seen.
    options.size = Some([4, 4]);
    let data = ImageData::read(folder.path(), &options).unwrap();
    assert_eq!(data.splits.train.labels(0)[..4], [1, 1, 2, 2]);
}

#[test]
fn wrong_label_images_stop_or_are_skipped() {
    type Damage = fn(&Path);
    let damages: [(Damage, &[&str]); 6] = [
        (|path| fs::write(path, b"not a picture").unwrap(), &["not a label image", "PNG"]),
        (
            |path| fs::write(path, &fs::read(path).unwrap()[..50]).unwrap(),
            &["not a label image", "PNG"],
        ),
        (|path| fs::remove_file(path).unwrap(), &["missing"]),
        (
            |path| png(path, [3, 2], ColorType::Grayscale, BitDepth::Eight, &[0; 6]),
            &["3×2 pixels", "its picture has 4×2"],
        ),
        (
            |path| {
                png(path, [4, 2], ColorType::Grayscale, BitDepth::Eight, &[0, 0, 0, 0, 0, 9, 0, 0])
            },
            &["class index 9 in row 1, column 1", "classes go from 0 to 2"],
        ),
        (|path| colour_png(path, [4, 2], [1; 3]), &["class indices", "Rgb with 8 bits"]),
    ];
    for (damage, parts) in damages {
        let folder = segmentation_folder();
        fs::write(folder.path().join("classes.txt"), "sky\nroad\n\ntree\n").unwrap();
        for split in ["train", "val", "test"] {
            for number in [1, 2] {
                let path = folder.path().join(format!("{split}annot/{number}.png"));
                fs::copy(folder.path().join(format!("{split}annot/3.png")), path).unwrap();
            }
        }
        assert_eq!(read(folder.path()).classes, ["sky", "road", "tree"]);
        damage(&folder.path().join("valannot/2.png"));
        assert_names(&refusal(folder.path()), &[&["valannot/2.png"], parts].concat());
        let data = ImageData::read(folder.path(), &skipping()).unwrap();
        assert_eq!((data.splits.validation.len(), data.skipped.len()), (3, 1));
    }
    let folder = segmentation_folder();
    fs::remove_dir_all(folder.path().join("valannot")).unwrap();
    assert_names(&refusal(folder.path()), &["valannot", "missing"]);
}

// Real data.

/// A folder of real data beside the project, if there is one here.
fn real(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data").join(name);
    if !path.is_dir() {
        println!("left out: {name}, since there is no {}", path.display());
        return None;
    }
    Some(path)
}

#[test]
fn fashion_mnist_is_read() {
    let Some(path) = real("fashion-mnist") else { return };
    let data = read(&path);
    let lengths = data.splits.as_ref().map(|set| set.len());
    assert_eq!(lengths.iter().collect::<Vec<_>>(), [&54_000, &6_000, &10_000]);
    assert_eq!((data.shape.height, data.shape.width, data.shape.channels), (28, 28, 1));
    assert_eq!(data.classes[9], "ankle boot");
    for (set, each) in data.splits.iter().zip([5_400, 600, 1_000]) {
        assert_eq!(data.class_counts(set), [each; 10]);
    }
    // The published moments.
    assert!((data.normalization.mean[0] - 0.286).abs() < 2e-3);
    assert!((data.normalization.deviation[0] - 0.353).abs() < 2e-3);
}

#[test]
fn camvid_is_read() {
    let Some(path) = real("camvid") else { return };
    let data = read(&path);
    let lengths = data.splits.as_ref().map(|set| set.len());
    assert_eq!(lengths.iter().collect::<Vec<_>>(), [&367, &101, &233]);
    assert_eq!((data.shape.height, data.shape.width), (120, 160));
    assert_eq!((data.classes.len(), data.classes[0].as_str()), (11, "sky"));
    let counts = data.class_counts(&data.splits.train);
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
    assert!(counts.iter().sum::<u64>() < 367 * 120 * 160, "some pixels are void");
}
