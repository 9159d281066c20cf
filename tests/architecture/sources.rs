//! A crate as its files and modules: which file defines a name, and which files use it.
//!
//! Names are followed as the compiler does it, through `use` and re-exports, as far as paths go.
//! What no path names (a method, a trait that is implemented) is not seen. Tests are left out.

use proc_macro2::{TokenStream, TokenTree};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use syn::visit::{self, Visit};
use syn::{Attribute, Item, ItemMod, ItemUse, Macro, UseTree, Visibility};

/// Which files use which, and by what names: (user, used) → names.
pub type Uses = BTreeMap<(String, String), BTreeSet<String>>;

/// A crate's code.
pub struct Crate {
    /// Each file with its path from the root of the repository.
    pub files: Vec<(String, syn::File)>,
    modules: Vec<Module>,
}

struct Module {
    /// The index of its file in [`Crate::files`].
    file: usize,
    parent: Option<usize>,
    /// What its names stand for; a name may be that of a module and of something else.
    names: HashMap<String, Vec<Name>>,
    /// What it imports with `*`.
    globs: Vec<Vec<String>>,
}

#[derive(Clone)]
enum Name {
    /// It is defined here.
    Item,
    Module(usize),
    /// It is imported from this path.
    Import(Vec<String>),
}

/// What a path leads to.
enum Found {
    File(usize),
    Module(usize),
}

impl Crate {
    /// Parses the crate whose first file this is.
    pub fn parse(repository: &Path, first: &str) -> Crate {
        let mut parsed = Crate { files: Vec::new(), modules: Vec::new() };
        let folder = Path::new(first).parent().expect("a file is in a folder");
        parsed.add_file(repository, Path::new(first), folder, None);
        parsed
    }

    /// Parses a module's file, with those of its children, which are in `folder`.
    fn add_file(
        &mut self,
        repository: &Path,
        path: &Path,
        folder: &Path,
        parent: Option<usize>,
    ) -> usize {
        let name = path.to_str().expect("names in ASCII").replace('\\', "/");
        let text = std::fs::read_to_string(repository.join(path));
        let text = text.unwrap_or_else(|error| panic!("{name}: {error}"));
        let parsed = syn::parse_file(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let items = parsed.items.clone();
        self.files.push((name, parsed));
        self.add_module(repository, self.files.len() - 1, folder, parent, &items)
    }

    fn add_module(
        &mut self,
        repository: &Path,
        file: usize,
        folder: &Path,
        parent: Option<usize>,
        items: &[Item],
    ) -> usize {
        let id = self.modules.len();
        self.modules.push(Module { file, parent, names: HashMap::new(), globs: Vec::new() });
        for item in items.iter().filter(|item| !is_for_tests(item)) {
            match item {
                Item::Mod(module) => self.add_child(repository, id, folder, module),
                // A macro that declares modules names their files.
                Item::Macro(item) if item.ident.is_none() => {
                    for name in paths_in(item.mac.tokens.clone()).into_iter().filter_map(single) {
                        if file_of(repository, folder, &name).is_some() {
                            self.add_child_file(repository, id, folder, name);
                        }
                    }
                }
                item => {
                    if let Some(name) = defined_name(item) {
                        self.define(id, name, Name::Item);
                    }
                }
            }
            let mut imports = Imports::default();
            imports.visit_item(item);
            for (name, path) in imports.names {
                self.define(id, name, Name::Import(path));
            }
            self.modules[id].globs.extend(imports.globs);
        }
        id
    }

    fn add_child(&mut self, repository: &Path, parent: usize, folder: &Path, module: &ItemMod) {
        let name = module.ident.to_string();
        let Some((_, items)) = &module.content else {
            return self.add_child_file(repository, parent, folder, name);
        };
        let file = self.modules[parent].file;
        let child = self.add_module(repository, file, &folder.join(&name), Some(parent), items);
        self.define(parent, name, Name::Module(child));
    }

    fn add_child_file(&mut self, repository: &Path, parent: usize, folder: &Path, name: String) {
        let known = self.modules[parent].names.get(&name);
        if known.is_some_and(|known| known.iter().any(|known| matches!(known, Name::Module(_)))) {
            return;
        }
        let path = file_of(repository, folder, &name);
        let path = path.unwrap_or_else(|| panic!("no file for the module {name} in {folder:?}"));
        let child = self.add_file(repository, &path, &folder.join(&name), Some(parent));
        self.define(parent, name, Name::Module(child));
    }

    fn define(&mut self, module: usize, name: String, what: Name) {
        self.modules[module].names.entry(name).or_default().push(what);
    }

    /// What a path leads to that stands in a module; `None` if it leads out of the crate, or is no
    /// path at all but a variable. `depth` ends imports that go round in a circle.
    fn resolve(&self, module: usize, path: &[String], depth: usize) -> Option<Found> {
        if depth > 32 {
            return None;
        }
        let Some((first, rest)) = path.split_first() else { return Some(Found::Module(module)) };
        match first.as_str() {
            "crate" => return self.resolve(0, rest, depth + 1),
            "self" => return self.resolve(module, rest, depth + 1),
            "super" => return self.resolve(self.modules[module].parent?, rest, depth + 1),
            _ => {}
        }
        let names = self.modules[module].names.get(first).map_or(&[][..], Vec::as_slice);
        let (modules, others): (Vec<&Name>, Vec<&Name>) =
            names.iter().partition(|name| matches!(name, Name::Module(_)));
        // Whatever goes on is a module, whatever ends is rather something in one.
        let order = if rest.is_empty() { [others, modules] } else { [modules, others] };
        for name in order.into_iter().flatten() {
            let found = match name {
                Name::Item => Some(Found::File(self.modules[module].file)),
                Name::Module(child) => self.resolve(*child, rest, depth + 1),
                Name::Import(path) => match self.resolve(module, path, depth + 1) {
                    Some(Found::Module(imported)) => self.resolve(imported, rest, depth + 1),
                    // What comes after a type or function is a part of it.
                    found => found,
                },
            };
            if found.is_some() {
                return found;
            }
        }
        self.modules[module].globs.iter().find_map(|glob| {
            match self.resolve(module, glob, depth + 1)? {
                Found::Module(imported) if imported != module => {
                    self.resolve(imported, path, depth + 1)
                }
                _ => None,
            }
        })
    }

    /// Which files use names of which others.
    pub fn uses(&self) -> Uses {
        let mut uses = Uses::new();
        for (id, module) in self.modules.iter().enumerate() {
            // Those that stand in a file are visited with it.
            let whole = id == 0 || self.modules[module.parent.unwrap_or(0)].file != module.file;
            if whole {
                let mut user = User { code: self, module: id, uses: &mut uses };
                user.visit_items(&self.files[module.file].1.items);
            }
        }
        uses
    }
}

/// Visits a file's code and notes what it uses.
struct User<'a> {
    code: &'a Crate,
    module: usize,
    uses: &'a mut Uses,
}

impl User<'_> {
    fn visit_items(&mut self, items: &[Item]) {
        items.iter().for_each(|item| self.visit_item(item));
    }

    fn note(&mut self, path: &[String]) {
        let Some(Found::File(used)) = self.code.resolve(self.module, path, 0) else { return };
        let user = self.code.modules[self.module].file;
        if used != user {
            let [user, used] = [user, used].map(|file| self.code.files[file].0.clone());
            let name = path.last().expect("a path that leads somewhere").clone();
            self.uses.entry((user, used)).or_default().insert(name);
        }
    }
}

impl<'a> Visit<'a> for User<'_> {
    fn visit_item(&mut self, item: &'a Item) {
        if !is_for_tests(item) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, module: &'a ItemMod) {
        let Some((_, items)) = &module.content else { return };
        let names = &self.code.modules[self.module].names[&module.ident.to_string()];
        let child = names.iter().find_map(|name| match name {
            Name::Module(child) => Some(*child),
            _ => None,
        });
        let outer = std::mem::replace(&mut self.module, child.expect("it was parsed"));
        self.visit_items(items);
        self.module = outer;
    }

    /// A re-export uses nothing: whoever names it uses what is behind it.
    fn visit_item_use(&mut self, item: &'a ItemUse) {
        if matches!(item.vis, Visibility::Inherited) {
            let mut imports = Imports::default();
            imports.visit_item_use(item);
            imports.names.iter().for_each(|(_, path)| self.note(path));
        }
    }

    fn visit_path(&mut self, path: &'a syn::Path) {
        let names: Vec<String> =
            path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.note(&names);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, item: &'a Macro) {
        self.visit_path(&item.path);
        paths_in(item.tokens.clone()).iter().for_each(|path| self.note(path));
    }

    fn visit_attribute(&mut self, _: &'a Attribute) {}
}

/// The names that `use` brings in, with their paths.
#[derive(Default)]
struct Imports {
    names: Vec<(String, Vec<String>)>,
    globs: Vec<Vec<String>>,
}

impl Imports {
    fn add(&mut self, tree: &UseTree, mut path: Vec<String>) {
        match tree {
            UseTree::Path(step) => {
                path.push(step.ident.to_string());
                self.add(&step.tree, path);
            }
            UseTree::Name(name) => {
                let name = name.ident.to_string();
                if name != "self" {
                    path.push(name);
                }
                self.names.push((path.last().cloned().unwrap_or_default(), path));
            }
            UseTree::Rename(rename) => {
                path.push(rename.ident.to_string());
                self.names.push((rename.rename.to_string(), path));
            }
            UseTree::Glob(_) => self.globs.push(path),
            UseTree::Group(group) => {
                group.items.iter().for_each(|tree| self.add(tree, path.clone()))
            }
        }
    }
}

impl<'a> Visit<'a> for Imports {
    fn visit_item_use(&mut self, item: &'a ItemUse) {
        self.add(&item.tree, Vec::new());
    }

    fn visit_item_mod(&mut self, _: &'a ItemMod) {}
}

/// The paths in what a macro is given: names joined by `::`, but for methods and fields.
fn paths_in(tokens: TokenStream) -> Vec<Vec<String>> {
    let (mut paths, mut inner) = (Vec::<Vec<String>>::new(), Vec::new());
    // What stands between this name and the one before.
    let mut between = String::new();
    for token in tokens {
        match token {
            TokenTree::Ident(_) if between.ends_with('.') => {}
            TokenTree::Ident(name) => match paths.last_mut().filter(|_| between == "::") {
                Some(path) => path.push(name.to_string()),
                None => paths.push(vec![name.to_string()]),
            },
            TokenTree::Group(group) => {
                inner.append(&mut paths_in(group.stream()));
                between = "()".into();
                continue;
            }
            other => {
                between += &other.to_string();
                continue;
            }
        }
        between.clear();
    }
    paths.append(&mut inner);
    paths
}

fn single(path: Vec<String>) -> Option<String> {
    <[String; 1]>::try_from(path).ok().map(|[name]| name)
}

/// The file of a module whose parent's children are in `folder`.
fn file_of(repository: &Path, folder: &Path, name: &str) -> Option<PathBuf> {
    let candidates = [folder.join(format!("{name}.rs")), folder.join(name).join("mod.rs")];
    candidates.into_iter().find(|path| repository.join(path).is_file())
}

/// Whether code is there only for tests.
pub fn is_for_tests(item: &Item) -> bool {
    let mut conditions =
        attributes(item).iter().filter_map(|attribute| attribute.meta.require_list().ok());
    conditions.any(|list| {
        let condition = list.tokens.to_string();
        list.path.is_ident("cfg") && ["test", "doctest"].contains(&condition.as_str())
    })
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

fn defined_name(item: &Item) -> Option<String> {
    let name = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Macro(item) => item.ident.as_ref()?,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Union(item) => &item.ident,
        _ => return None,
    };
    Some(name.to_string())
}
