//! Folders as people have them: what is read as what, what is left out, and what is ambiguous.

use super::{
    ReadOptions, TempDir, VOID, assert_names, class_folder, colour_png, fs, gzip, idx, idx_folder,
    png, read, refusal, segmentation_folder, skipping,
};
use neutreno::data::images::ImageData;
use png::{BitDepth, ColorType};
use std::path::Path;

fn notices(folder: &Path) -> String {
    read(folder).notices.join("\n")
}

/// Pictures of one colour in folders below one.
fn pictures_in(root: &Path, folders: &[&str]) {
    for folder in folders {
        for number in 0..3 {
            colour_png(&root.join(format!("{folder}/{number}.png")), [4, 2], [number, 0, 0]);
        }
    }
}

fn folder_with(folders: &[&str]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    pictures_in(folder.path(), folders);
    folder
}

fn lengths(data: &ImageData) -> [usize; 3] {
    let lengths = data.splits.as_ref().map(|set| set.len());
    [lengths.train, lengths.validation, lengths.test]
}

#[test]
fn a_class_may_be_called_as_a_split() {
    let folder = folder_with(&["airplane", "car", "train"]);
    assert_eq!(read(folder.path()).classes, ["airplane", "car", "train"]);
}

#[test]
fn splits_go_by_other_names_too() {
    let folder = folder_with(&["Training/a", "Training/b", "dev/a", "dev/b", "TEST/a", "TEST/b"]);
    let data = read(folder.path());
    assert_eq!((lengths(&data), data.classes), ([6, 6, 6], vec!["a".to_string(), "b".into()]));
}

#[test]
fn two_readings_are_both_named() {
    let cases: [(&[&str], &[&str]); 7] = [
        (&["cat", "dog", "test"], &["test/ beside cat/, dog/", "another class", "to test on"]),
        (&["train/a", "train/b", "cat", "dog"], &["a/, b/ in train/", "train/ itself beside cat/"]),
        (&["train/a", "train/b", "val/a", "dev/a"], &["dev/ and val/ could both be the split val"]),
        (&["train", "test"], &["train", "no class folders, but 3 pictures"]),
        (&["val/a", "test/a"], &["none with training images"]),
        (&["cat/train", "cat/test", "dog/train"], &["cat", "splits within a class"]),
        (&["all/cat", "all/dog"], &["1 class folder, all/", "if cat/, dog/ are the classes, give"]),
    ];
    for (folders, parts) in cases {
        assert_names(&refusal(folder_with(folders).path()), parts);
    }
    let both = idx_folder();
    fs::write(both.path().join("train.bin"), "").unwrap();
    fs::write(both.path().join("test.bin"), "").unwrap();
    assert_names(&refusal(both.path()), &["idx files and those of CIFAR"]);
}

#[test]
fn what_was_found_and_what_was_left_out_is_said() {
    let folder = folder_with(&["train/a/deep", "train/b", "test/a", "test/b", "extra"]);
    fs::write(folder.path().join("train/b/scan.tiff"), "").unwrap();
    fs::write(folder.path().join("train/index.csv"), "").unwrap();
    fs::write(folder.path().join("README"), "").unwrap();
    let said = notices(folder.path());
    let line = "found 12 .png; left out: 1 .csv, 1 .tiff, 1 README, the folder extra/ (3 pictures)";
    assert_names(&said, &[line, "below their class's, read as that class: 3"]);
    assert_names(&said, &["one training image in ten of each class is held out for validation"]);

    let folder = folder_with(&["train/a", "train/b", "val/a", "val/b"]);
    assert_names(&notices(folder.path()), &["the validation split is the test split"]);

    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("raw")).unwrap();
    assert_names(&refusal(folder.path()), &["only the folder raw/: looked for"]);
}

#[test]
fn classes_are_put_in_order_and_not_swapped() {
    let folder = class_folder();
    let read = |names: &[&str]| {
        let classes = Some(names.iter().map(|name| name.to_string()).collect());
        ImageData::read(folder.path(), &ReadOptions { classes, ..skipping() })
    };
    let data = read(&["dog", "cat"]).unwrap();
    assert_eq!(data.classes, ["dog", "cat"]);
    let set = &data.splits.train;
    assert!((0..set.len()).all(|i| (set.image(i)[0] == 200) == (set.labels(i) == [0])));
    assert_names(&read(&["dog", "cow"]).unwrap_err().to_string(), &["only 1 of the 2 names"]);
}

/// "é" as one character in one split and as two in the other.
#[test]
fn names_are_the_same_in_both_forms() {
    let folder = folder_with(&["train/caf\u{e9}", "train/b", "test/cafe\u{301}", "test/b"]);
    assert_eq!(read(folder.path()).class_counts(&read(folder.path()).splits.test), [3, 3]);
    let folder = folder_with(&["caf\u{e9}", "cafe\u{301}"]);
    assert_names(&refusal(folder.path()), &["two folders are called café"]);

    let folder = segmentation_folder();
    let train = |name: &str| folder.path().join(name);
    fs::rename(train("train/1.png"), train("train/\u{e9}.png")).unwrap();
    fs::rename(train("trainannot/1.png"), train("trainannot/e\u{301}.png")).unwrap();
    assert_eq!(lengths(&read(folder.path())), [4, 4, 4]);
}

/// As a much used download has MNIST: a file, and a folder of nearly its name with the file in it.
#[test]
fn idx_files_may_lie_in_folders_of_their_names() {
    let folder = idx_folder();
    let original = folder.path().join("train-images-idx3-ubyte");
    let dotted = folder.path().join("train-images.idx3-ubyte");
    fs::rename(&original, &dotted).unwrap();
    fs::create_dir(&original).unwrap();
    fs::copy(&dotted, original.join("train-images-idx3-ubyte")).unwrap();
    let hashes = read(idx_folder().path()).hashes;
    assert_eq!(read(folder.path()).hashes, hashes);
    assert_names(
        &notices(folder.path()),
        &["left out: train-images-idx3-ubyte (there is another)"],
    );
    fs::remove_file(&dotted).unwrap();
    assert_eq!(read(folder.path()).hashes, hashes);
}

#[test]
fn zeros_after_gzip_are_padding() {
    let folder = idx_folder();
    let labels = gzip(&idx(&[30], (0..30).map(|index| index % 2)));
    let path = folder.path().join("train-labels.idx1-ubyte.gz");
    fs::write(path, [labels, vec![0; 700]].concat()).unwrap();
    assert_eq!(read(folder.path()).hashes, read(idx_folder().path()).hashes);
}

// A task needs a choice.

#[test]
fn one_class_is_no_task() {
    let folder = idx_folder();
    fs::write(folder.path().join("train-labels.idx1-ubyte.gz"), gzip(&idx(&[30], [1; 30])))
        .unwrap();
    assert_names(&refusal(folder.path()), &["of one class, 1", "nothing to tell apart"]);
    fs::write(folder.path().join("train-labels.idx1-ubyte.gz"), gzip(&idx(&[30], [7; 30])))
        .unwrap();
    assert_names(&refusal(folder.path()), &["of one class, 7"]);
}

/// Label images of the same eight values everywhere.
fn masks(values: [u8; 8]) -> TempDir {
    let folder = segmentation_folder();
    for split in ["train", "val", "test"] {
        for number in 0..4 {
            let path = folder.path().join(format!("{split}annot/{number}.png"));
            png(&path, [4, 2], ColorType::Grayscale, BitDepth::Eight, &values);
        }
    }
    folder
}

#[test]
fn masks_without_a_choice_are_refused() {
    let black_and_white = masks([0, 0, 255, 255, 0, 0, 255, 0]);
    let said = refusal(black_and_white.path());
    assert_names(&said, &["one class, 0, and pixels that are void", "--label-values 0,255"]);
    let options = ReadOptions { label_values: Some(vec![0, 255]), ..ReadOptions::default() };
    let data = ImageData::read(black_and_white.path(), &options).unwrap();
    assert_eq!(
        (data.classes.clone(), data.splits.train.labels(0)[2]),
        (vec!["0".to_string(), "255".into()], 1)
    );
    assert_names(&data.notices.join("\n"), &["no index stands for void"]);
    let both = ReadOptions { void: Some(255), ..options };
    let said = ImageData::read(black_and_white.path(), &both).unwrap_err().to_string();
    assert_names(&said, &["255 is among --label-values and is --void"]);

    let all_void = masks([255; 8]);
    assert_names(&refusal(all_void.path()), &["training", "has a class: all are void"]);
}

#[test]
fn values_that_never_occur_and_void_are_told() {
    let folder = masks([0, 128, 0, 128, 255, 255, 0, 0]);
    let data = read(folder.path());
    assert_eq!((data.classes.len(), data.splits.train.labels(0)[4]), (129, VOID));
    let said = data.notices.join("\n");
    assert_names(&said, &["127 of the 129 classes never occur", "--label-values 0,128"]);
    assert_names(&said, &["index 255 is void", "25.0 % of the training pixels", "--void"]);
}

#[test]
fn label_images_need_pictures_of_their_own() {
    let folder = segmentation_folder();
    fs::copy(folder.path().join("trainannot/0.png"), folder.path().join("trainannot/9.png"))
        .unwrap();
    assert_names(&notices(folder.path()), &["1 in trainannot/ without a picture"]);
    fs::copy(folder.path().join("train/0.png"), folder.path().join("train/0.jpg")).unwrap();
    assert_names(&refusal(folder.path()), &["same label image as 0.jpg"]);
}

/// A list of names from a Windows machine begins with an invisible character.
#[test]
fn names_may_begin_with_a_mark() {
    let folder = segmentation_folder();
    fs::write(folder.path().join("classes.txt"), "\u{feff}sky\r\nroad\r\ntree\r\ncar\r\n").unwrap();
    assert_eq!(read(folder.path()).classes, ["sky", "road", "tree", "car"]);
    fs::write(folder.path().join("classes.txt"), b"r\xfcbe\n").unwrap();
    assert_names(&refusal(folder.path()), &["classes.txt", "is not UTF-8 text"]);
}
