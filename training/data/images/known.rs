//! The names of the classes of well-known data sets.

/// Fashion-MNIST (Xiao et al. 2017).
pub(super) const FASHION_MNIST: [&str; 10] = [
    "T-shirt/top",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
];

/// CIFAR-10 (Krizhevsky 2009).
pub(super) const CIFAR_10: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

/// The 11 classes of CamVid that are scored (Brostow et al. 2009).
pub(super) const CAMVID: [&str; 11] = [
    "sky",
    "building",
    "pole",
    "road",
    "pavement",
    "tree",
    "sign symbol",
    "fence",
    "car",
    "pedestrian",
    "bicyclist",
];

/// CamVid's index of pixels that are not scored.
pub(super) const CAMVID_VOID: u8 = 11;

pub(super) fn names(known: &[&str]) -> Vec<String> {
    known.iter().map(|name| name.to_string()).collect()
}
