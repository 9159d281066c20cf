//! The weights in a model's folder: one file, or several with an index of which tensor is in which.

use crate::engine::checkpoint::Checkpoint;
use crate::engine::half::Half;
use crate::engine::ops::half_matrix::HalfMatrix;
use crate::engine::{self, Device, Error, Parameters, Tensor};
use crate::json::{self, Keys, short};
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

/// All weights in one file.
const WHOLE: &str = "model.safetensors";
/// Which of several files has which tensor.
const INDEX: &str = "model.safetensors.index.json";

/// The open files of a folder's weights, which were found to be whole and to have what the index says.
pub(crate) struct Weights {
    /// What is named where something is wrong with all of it.
    path: PathBuf,
    files: Vec<Checkpoint>,
    tensors: BTreeMap<String, Place>,
    /// What stands before the names in the files.
    prefix: String,
    /// All files that this is read from.
    paths: Vec<PathBuf>,
}

struct Place {
    file: usize,
    shape: Vec<usize>,
}

impl Weights {
    /// Opens `model.safetensors`, or if there is none the files in `model.safetensors.index.json`.
    ///
    /// # Errors
    /// If there is neither, a file is missing or damaged, or the index does not fit the files.
    pub fn open(folder: &Path) -> engine::Result<Weights> {
        let [whole, index] = [WHOLE, INDEX].map(|name| folder.join(name));
        if whole.exists() || !index.exists() {
            return Weights::whole(whole);
        }
        let failed = |reason: String| Error::File { path: index.clone(), reason };
        let of_file = read_index(&json::read(&index)?).map_err(failed)?;
        let missing: Vec<&str> =
            of_file.keys().map(String::as_str).filter(|name| !folder.join(name).exists()).collect();
        if !missing.is_empty() {
            let (missing, all) = (list(&missing), of_file.len());
            return Err(failed(format!(
                "of the {all} files that it names these are not beside it: {missing}; get them too"
            )));
        }
        let mut weights = Weights {
            path: index.clone(),
            files: Vec::new(),
            tensors: BTreeMap::new(),
            prefix: String::new(),
            paths: vec![index.clone()],
        };
        let mut problems = Vec::new();
        for (name, mut expected) in of_file {
            let file = Checkpoint::open(&folder.join(&name))?;
            for (tensor, shape) in file.tensors() {
                if expected.remove(tensor) {
                    let place = Place { file: weights.files.len(), shape: shape.to_vec() };
                    weights.tensors.insert(tensor.to_owned(), place);
                } else {
                    problems.push(format!("{tensor} is in {name}, but the index does not say so"));
                }
            }
            let lacks =
                |tensor: String| format!("{name} lacks {tensor}, which the index says it has");
            problems.extend(expected.into_iter().map(lacks));
            weights.files.push(file);
            weights.paths.push(folder.join(&name));
        }
        match problems.is_empty() {
            true => Ok(weights),
            false => Err(failed(format!("index and files do not fit: {}", list(&problems)))),
        }
    }

    fn whole(path: PathBuf) -> engine::Result<Weights> {
        if !path.exists() {
            let reason = format!(
                "it is not there, and no {INDEX} either; weights are read from safetensors alone \
                 (`save_pretrained` of transformers writes them)"
            );
            return Err(Error::File { path, reason });
        }
        Weights::open_file(&path, "")
    }

    /// Opens one file, of which only the tensors count whose names begin with `prefix`; without it they
    /// are the model's.
    ///
    /// # Errors
    /// If the file is missing or damaged.
    pub fn open_file(path: &Path, prefix: &str) -> engine::Result<Weights> {
        let file = Checkpoint::open(path)?;
        let place = |(name, shape): (&str, &[usize])| {
            let name = name.strip_prefix(prefix)?;
            Some((name.to_owned(), Place { file: 0, shape: shape.to_vec() }))
        };
        let tensors = file.tensors().filter_map(place).collect();
        let (path, prefix) = (PathBuf::from(path), prefix.to_owned());
        let paths = vec![path.clone()];
        Ok(Weights { path, files: vec![file], tensors, prefix, paths })
    }

    /// The name of a tensor in its file.
    fn in_file(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// The shape of a tensor, if there is one of that name.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|place| place.shape.as_slice())
    }

    /// How many numbers all tensors have together.
    pub fn elements(&self) -> u128 {
        let elements =
            |place: &Place| place.shape.iter().map(|size| *size as u128).product::<u128>();
        self.tensors.values().map(elements).sum()
    }

    /// What does not fit a model with these parameters.
    ///
    /// # Errors
    /// [`Error::Parameters`] with what is missing, of another shape or type, or not expected; `may_be_left`
    /// says of which tensors it does not matter that the model has no use for them.
    pub fn check(
        &self,
        parameters: &Parameters,
        may_be_left: impl Fn(&str) -> bool,
    ) -> engine::Result<()> {
        let mut problems = Vec::new();
        for (name, tensor) in parameters.iter() {
            let shape = tensor.shape();
            match self.tensors.get(name) {
                None => problems.push(format!("{name} {shape} is missing")),
                Some(Place { shape: theirs, .. }) if *theirs != shape[..] => {
                    problems.push(format!("{name} is {theirs:?} in the file, not {shape}"));
                }
                Some(Place { file, .. }) => {
                    problems.extend(self.files[*file].unreadable(&self.in_file(name)))
                }
            }
        }
        for (name, Place { shape, .. }) in &self.tensors {
            if parameters.get(name).is_none() && !may_be_left(name) {
                problems.push(format!("{name} {shape:?} is in the file, but not expected"));
            }
        }
        match problems.is_empty() {
            true => Ok(()),
            false => Err(Error::Parameters { path: self.path.clone(), problems: list(&problems) }),
        }
    }

    /// Overwrites a tensor with that of the file, piece by piece.
    ///
    /// # Errors
    /// If it does not fit, or reading fails.
    pub fn read_into(&mut self, name: &str, tensor: &Tensor) -> engine::Result<()> {
        let file = self.tensors.get(name).map_or(0, |place| place.file);
        let name = self.in_file(name);
        self.files[file].read_into(&name, tensor)
    }

    /// The numbers of a tensor, which must be there.
    ///
    /// # Errors
    /// If it is of a type that cannot be read, or reading fails.
    pub fn numbers(&mut self, name: &str) -> engine::Result<Vec<f32>> {
        let Place { file, shape } = &self.tensors[name];
        let (file, count) = (*file, shape.iter().product());
        let name = self.in_file(name);
        self.files[file].read_range(&name, 0..count)
    }

    /// The files that all of this is read from.
    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// A matrix, kept in half precision.
    ///
    /// # Errors
    /// If it is none, a number is too large for the format, or reading fails.
    pub fn read_half(
        &mut self,
        name: &str,
        half: Half,
        device: &Device,
    ) -> engine::Result<HalfMatrix> {
        let file = self.tensors.get(name).map_or(0, |place| place.file);
        let name = self.in_file(name);
        self.files[file].read_half(&name, half, device)
    }

    /// The numbers of a tensor.
    ///
    /// # Errors
    /// If there is none of that name that can be read, or reading fails.
    pub fn read(&mut self, name: &str) -> engine::Result<Vec<f32>> {
        let (file, elements) = self
            .tensors
            .get(name)
            .map_or((0, 0), |place| (place.file, place.shape.iter().product()));
        self.files[file].read_range(name, 0..elements)
    }

    /// Whether two tensors of one shape have the same numbers.
    ///
    /// # Errors
    /// If they are of a type that cannot be read, or reading fails.
    pub fn same(&mut self, one: &str, other: &str) -> engine::Result<bool> {
        const PIECE: usize = 1 << 20;
        let both = [one, other].map(|name| (self.in_file(name), self.tensors[name].file));
        let elements: usize = self.tensors[one].shape.iter().product();
        for first in (0..elements).step_by(PIECE) {
            let part = first..elements.min(first + PIECE);
            let [one, other] = both
                .each_ref()
                .map(|(name, file)| self.files[*file].read_range(name, part.clone()));
            if one? != other? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The names of all tensors.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }
}

/// The names of files, each with those of its tensors.
fn read_index(text: &[u8]) -> Result<BTreeMap<String, BTreeSet<String>>, String> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: Option<Keys>,
    }
    let index: Index = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    let Some(map) = index.weight_map else {
        return Err("weight_map is missing: it says which file has which tensor".into());
    };
    let mut of_file = BTreeMap::<String, BTreeSet<String>>::new();
    for (tensor, file) in map.rest() {
        let Some(file) = file.as_str() else {
            return Err(format!("{tensor} is in {}, which is no file's name", short(file)));
        };
        if !is_plain_name(file) {
            return Err(format!(
                "{tensor} is in {}, which is no file beside the index: only names without folders \
                 are read",
                short(&Value::from(file))
            ));
        }
        of_file.entry(file.to_owned()).or_default().insert(tensor.to_owned());
    }
    match of_file.is_empty() {
        true => Err("weight_map is empty: it names no tensor".into()),
        false => Ok(of_file),
    }
}

/// Whether a name leads to a file in the index's own folder, on whatever system.
fn is_plain_name(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    let one = matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None));
    one && !name.contains(['/', '\\', ':', '\0'])
}

/// The first few of a list, and how many more there are.
pub(crate) fn list<T: AsRef<str>>(items: &[T]) -> String {
    const MOST: usize = 8;
    let first: Vec<&str> = items.iter().take(MOST).map(AsRef::as_ref).collect();
    let more = match items.len().saturating_sub(MOST) {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    format!("{}{more}", first.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Initial;
    use crate::engine::checkpoint::{Metadata, save_tensors};
    use serde_json::json;
    use std::fs;

    /// Two files of two tensors each, and their index.
    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (file, names) in [("one.safetensors", ["a", "b"]), ("two.safetensors", ["c", "d"])] {
            let tensors =
                names.map(|name| (name.to_owned(), Tensor::full(1.0, [2], &Device::cpu())));
            save_tensors(&folder.path().join(file), &tensors, &Metadata::new()).unwrap();
        }
        let map = json!({"a": "one.safetensors", "b": "one.safetensors", "c": "two.safetensors",
            "d": "two.safetensors"});
        write_index(folder.path(), &json!({"metadata": {"total_size": 32}, "weight_map": map}));
        folder
    }

    fn write_index(folder: &Path, index: &Value) {
        fs::write(folder.join(INDEX), index.to_string()).unwrap();
    }

    fn refused(folder: &Path) -> String {
        let Err(error) = Weights::open(folder) else { panic!("the weights were opened") };
        error.to_string()
    }

    #[test]
    fn several_files_are_one() {
        let folder = folder();
        let mut weights = Weights::open(folder.path()).unwrap();
        assert_eq!(weights.names().collect::<Vec<_>>(), ["a", "b", "c", "d"]);
        assert_eq!((weights.elements(), weights.shape("d")), (8, Some(&[2][..])));
        let x = Tensor::zeros([2], &Device::cpu());
        weights.read_into("c", &x).unwrap();
        assert_eq!(x.to_vec().unwrap(), [1.0, 1.0]);
        assert_eq!(weights.read("d").unwrap(), [1.0, 1.0]);
        assert!(weights.read("e").unwrap_err().to_string().contains("e is missing"));
        assert!(weights.read_into("e", &x).unwrap_err().to_string().contains("e [2] is missing"));
    }

    /// As `transformers` has it.
    #[test]
    fn one_file_comes_before_an_index() {
        let folder = folder();
        let x = [("x".to_owned(), Tensor::zeros([1], &Device::cpu()))];
        save_tensors(&folder.path().join(WHOLE), &x, &Metadata::new()).unwrap();
        assert_eq!(Weights::open(folder.path()).unwrap().names().collect::<Vec<_>>(), ["x"]);
    }

    #[test]
    fn what_does_not_fit_a_model_is_named() {
        let weights = Weights::open(folder().path()).unwrap();
        let parameters = |shapes: &[(&str, usize)]| {
            let make = |builder: &mut crate::engine::Builder| {
                for (name, size) in shapes {
                    builder.parameter(name, [*size], Initial::Zeros, false);
                }
            };
            Parameters::build(&Device::plan(), 0, make).1
        };
        weights.check(&parameters(&[("a", 2), ("b", 2), ("c", 2), ("d", 2)]), |_| false).unwrap();
        weights.check(&parameters(&[("a", 2), ("b", 2), ("d", 2)]), |name| name == "c").unwrap();
        let wrong = parameters(&[("a", 2), ("b", 3), ("c", 2), ("e", 2)]);
        let Err(Error::Parameters { problems, .. }) = weights.check(&wrong, |_| false) else {
            panic!("it fits")
        };
        let expected = "b is [2] in the file, not [3]; e [2] is missing; \
                        d [2] is in the file, but not expected";
        assert_eq!(problems, expected);
    }

    #[test]
    fn files_that_an_index_names_must_be_there_and_fit() {
        let folder = folder();
        fs::rename(folder.path().join("two.safetensors"), folder.path().join("2")).unwrap();
        let problem = refused(folder.path());
        assert!(
            problem.contains("of the 2 files") && problem.contains("two.safetensors;"),
            "{problem}"
        );
        fs::write(folder.path().join("two.safetensors"), "cut off").unwrap();
        assert!(refused(folder.path()).contains("two.safetensors: no safetensors file"));
        fs::rename(folder.path().join("2"), folder.path().join("two.safetensors")).unwrap();
        let map = json!({"a": "one.safetensors", "x": "one.safetensors", "c": "two.safetensors",
            "d": "two.safetensors"});
        write_index(folder.path(), &json!({ "weight_map": map }));
        let problem = refused(folder.path());
        for words in ["b is in one.safetensors, but", "one.safetensors lacks x, which"] {
            assert!(problem.contains(words), "{problem}");
        }
        // In two files, of which the index names one.
        let both = json!({"a": "one.safetensors", "b": "one.safetensors", "c": "two.safetensors"});
        write_index(folder.path(), &json!({ "weight_map": both }));
        let names = ["a", "c"].map(|name| (name.to_owned(), Tensor::zeros([1], &Device::cpu())));
        save_tensors(&folder.path().join("two.safetensors"), &names, &Metadata::new()).unwrap();
        assert!(refused(folder.path()).contains("a is in two.safetensors, but"));
    }

    #[test]
    fn an_index_leads_nowhere_else() {
        let folder = folder();
        for name in ["/etc/x", "../x", "..", ".", "", "a/b", "a\\b", "C:x", "C:\\x", "a\0b", "a/"] {
            write_index(folder.path(), &json!({"weight_map": {"a": name}}));
            let problem = refused(folder.path());
            assert!(problem.contains("is no file beside the index"), "{name:?}: {problem}");
        }
        for (text, words) in [
            (r#"{"weight_map": {"a": 1}}"#, "a is in 1, which is no file's name"),
            (r#"{"weight_map": {"a": "x", "a": "y"}}"#, "the key a stands twice"),
            (r#"{"weight_map": {}}"#, "weight_map is empty"),
            (r#"{"weight_map": []}"#, "expected an object"),
            ("{}", "weight_map is missing"),
            ("", "EOF"),
        ] {
            fs::write(folder.path().join(INDEX), text).unwrap();
            let problem = refused(folder.path());
            assert!(problem.contains(words) && problem.contains(INDEX), "{text}: {problem}");
        }
        fs::remove_file(folder.path().join(INDEX)).unwrap();
        assert!(refused(folder.path()).contains("model.safetensors: it is not there"));
    }
}
