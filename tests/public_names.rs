//! The public interface of the crate as a list: every public name with its signature. A change of the interface shows
//! as a change of `tests/public-names.snap`. `INSTA_UPDATE=always` writes the list again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use quote::ToTokens;
use syn::{Fields, ImplItem, Item, ItemUse, TraitItem, UseTree, Visibility};

/// The items of each module, by the path of the module: `admin::doctor`, or an empty path for the root.
#[derive(Default)]
struct Crate {
    modules: BTreeMap<String, Vec<Item>>,
    /// Methods of types, by the type's name.
    methods: BTreeMap<String, Vec<String>>,
}

impl Crate {
    fn read() -> Self {
        let mut found = Self::default();
        found.file(Path::new("src/lib.rs"), Path::new("src"), "");
        found
    }

    fn file(&mut self, file: &Path, folder: &Path, path: &str) {
        let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let items = syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display())).items;
        self.items(items, folder, path);
    }

    fn items(&mut self, items: Vec<Item>, folder: &Path, path: &str) {
        for item in &items {
            match item {
                Item::Mod(module) if !for_tests(&module.attrs) => {
                    let name = module.ident.to_string();
                    let below = join(path, &name);
                    if let Some((_, items)) = &module.content {
                        self.items(items.clone(), &folder.join(&name), &below);
                    } else {
                        self.file(&file_of(folder, &name), &folder.join(&name), &below);
                    }
                }
                Item::Impl(part) if part.trait_.is_none() => {
                    let own = last_name(&part.self_ty.to_token_stream().to_string());
                    let methods = self.methods.entry(own).or_default();
                    for item in &part.items {
                        match item {
                            ImplItem::Fn(method) if is_public(&method.vis) => methods.push(tidy(&method.sig)),
                            ImplItem::Const(item) if is_public(&item.vis) => {
                                methods.push(format!("const {}: {}", item.ident, tidy(&item.ty)));
                            }
                            _ => {}
                        }
                    }
                }
                // Setters of fields: see `src/setters.rs`.
                Item::Macro(item) if item.mac.path.is_ident("setters") => {
                    let text = tidy(&item.mac.tokens);
                    let (own, fields) = text.split_once(':').expect("a type and its fields");
                    self.methods.entry(own.trim().to_owned()).or_default().push(format!("setters {}", fields.trim()));
                }
                _ => {}
            }
        }
        self.modules.insert(path.to_owned(), items);
    }

    /// Adds what is public in a module and in the modules inside it.
    fn print(&self, path: &str, out: &mut BTreeSet<String>) {
        for item in self.modules.get(path).into_iter().flatten() {
            match item {
                Item::Mod(module) if is_public(&module.vis) && !for_tests(&module.attrs) => {
                    self.print(&join(path, &module.ident.to_string()), out);
                }
                Item::Use(item) if is_public(&item.vis) && !is_hidden(&item.attrs) => {
                    for (from, name) in targets(item) {
                        let Some(from) = self.absolute(path, &from) else {
                            out.insert(format!("{} = {}", full(path, &name), from.join("::")));
                            continue;
                        };
                        let (module, last) = from.rsplit_once("::").unwrap_or(("", &from));
                        let found = self.find(module, last).unwrap_or_else(|| "made by a macro".to_owned());
                        self.add(path, &name, &found, out);
                    }
                }
                item => {
                    if let Some((name, text)) = describe(item) {
                        self.add(path, &name, &text, out);
                    }
                }
            }
        }
    }

    fn add(&self, path: &str, name: &str, text: &str, out: &mut BTreeSet<String>) {
        let mut entry = format!("{}: {text}", full(path, name));
        let mut methods = self.methods.get(name).cloned().unwrap_or_default();
        if text.starts_with("struct") || text.starts_with("enum") {
            methods.sort();
            for method in methods {
                write!(entry, "\n    {method}").unwrap();
            }
        }
        out.insert(entry);
    }

    /// The path from the root. `None` for an item of another crate.
    fn absolute(&self, module: &str, path: &[String]) -> Option<String> {
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "crate" => Some(rest.join("::")),
            "self" => Some(join(module, &rest.join("::"))),
            _ if self.modules.contains_key(&join(module, first)) => Some(join(module, &path.join("::"))),
            _ => None,
        }
    }

    /// Finds an item by its name in a module, also if the module re-exports it.
    fn find(&self, module: &str, name: &str) -> Option<String> {
        let items = self.modules.get(module)?;
        if let Some((_, text)) = items.iter().filter_map(describe).find(|(own, _)| own == name) {
            return Some(text);
        }
        let uses = items.iter().filter_map(|item| if let Item::Use(item) = item { Some(item) } else { None });
        let (from, _) = uses.flat_map(targets).find(|(_, own)| own == name)?;
        let from = self.absolute(module, &from)?;
        let (module, name) = from.rsplit_once("::")?;
        self.find(module, name)
    }
}

fn file_of(folder: &Path, name: &str) -> PathBuf {
    let flat = folder.join(format!("{name}.rs"));
    if flat.exists() { flat } else { folder.join(name).join("mod.rs") }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}::{name}") }
}

fn full(path: &str, name: &str) -> String {
    format!("readside::{}", join(path, name))
}

fn last_name(ty: &str) -> String {
    let plain = ty.split('<').next().unwrap_or_default().trim();
    plain.rsplit("::").next().unwrap_or_default().trim().to_owned()
}

fn is_public(vis: &Visibility) -> bool {
    matches!(vis, Visibility::Public(_))
}

fn says(attrs: &[syn::Attribute], word: &str) -> bool {
    attrs.iter().any(|attr| !attr.path().is_ident("doc") && attr.to_token_stream().to_string().contains(word))
}

fn for_tests(attrs: &[syn::Attribute]) -> bool {
    says(attrs, "cfg (test)") || says(attrs, "cfg (all (test")
}

fn is_hidden(attrs: &[syn::Attribute]) -> bool {
    attrs.iter().any(|attr| attr.to_token_stream().to_string().replace(' ', "") == "#[doc(hidden)]")
}

/// What a `use` imports, and under which name.
fn targets(item: &ItemUse) -> Vec<(Vec<String>, String)> {
    fn walk(tree: &UseTree, before: &[String], out: &mut Vec<(Vec<String>, String)>) {
        let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
        match tree {
            UseTree::Path(path) => walk(&path.tree, &with(&path.ident), out),
            UseTree::Name(name) => out.push((with(&name.ident), name.ident.to_string())),
            UseTree::Rename(name) => out.push((with(&name.ident), name.rename.to_string())),
            UseTree::Group(group) => group.items.iter().for_each(|tree| walk(tree, before, out)),
            UseTree::Glob(_) => out.push((before.to_vec(), "*".to_owned())),
        }
    }
    let mut out = Vec::new();
    walk(&item.tree, &[], &mut out);
    out
}

/// The name of a public item, and its text in the list.
fn describe(item: &Item) -> Option<(String, String)> {
    Some(match item {
        Item::Fn(item) if is_public(&item.vis) => (item.sig.ident.to_string(), tidy(&item.sig)),
        Item::Struct(item) if is_public(&item.vis) => {
            let open = if says(&item.attrs, "non_exhaustive") { " (may grow)" } else { "" };
            (item.ident.to_string(), format!("struct{open}{}", fields(&item.fields)))
        }
        Item::Enum(item) if is_public(&item.vis) => {
            let open = if says(&item.attrs, "non_exhaustive") { " (may grow)" } else { "" };
            let mut text = format!("enum{open}");
            for variant in &item.variants {
                let parts = variant.fields.iter().map(|field| match &field.ident {
                    Some(name) => format!("{name}: {}", tidy(&field.ty)),
                    None => tidy(&field.ty),
                });
                write!(text, "\n    | {} {}", variant.ident, parts.collect::<Vec<_>>().join(", ")).unwrap();
                text.truncate(text.trim_end().len());
            }
            (item.ident.to_string(), text)
        }
        Item::Trait(item) if is_public(&item.vis) => {
            let mut text = "trait".to_owned();
            for part in &item.items {
                match part {
                    TraitItem::Fn(method) => {
                        let given = if method.default.is_some() { " (given)" } else { "" };
                        write!(text, "\n    {}{given}", tidy(&method.sig)).unwrap();
                    }
                    TraitItem::Const(item) => write!(text, "\n    const {}: {}", item.ident, tidy(&item.ty)).unwrap(),
                    TraitItem::Type(item) => write!(text, "\n    type {}", item.ident).unwrap(),
                    _ => {}
                }
            }
            (item.ident.to_string(), text)
        }
        Item::Type(item) if is_public(&item.vis) => (item.ident.to_string(), format!("type {}", tidy(&item.ty))),
        Item::Const(item) if is_public(&item.vis) => (item.ident.to_string(), format!("const {}", tidy(&item.ty))),
        _ => return None,
    })
}

fn fields(fields: &Fields) -> String {
    let mut text = String::new();
    for field in fields.iter().filter(|field| is_public(&field.vis)) {
        let name = field.ident.as_ref().map_or_else(String::new, |name| format!("{name}: "));
        write!(text, "\n    . {name}{}", tidy(&field.ty)).unwrap();
    }
    text
}

/// Code on one line, with the usual spaces.
fn tidy(code: &impl ToTokens) -> String {
    let mut text = code.to_token_stream().to_string();
    for (from, to) in [
        (" :: ", "::"),
        (" < ", "<"),
        (" > ", "> "),
        (" >", ">"),
        ("< ", "<"),
        (" (", "("),
        ("( ", "("),
        (" )", ")"),
        (" ,", ","),
        (",)", ")"),
        ("& ", "&"),
        (" : ", ": "),
        (" :", ":"),
        (" ;", ";"),
        ("->", " -> "),
        ("[ ", "["),
        (" ]", "]"),
        ("> (", ">("),
        ("> ,", ">,"),
    ] {
        text = text.replace(from, to);
    }
    text.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .replace("> ,", ">,")
        .replace("> )", ">)")
        .replace("(mut ", "(")
        .replace(", mut ", ", ")
}

/// Every public name with its text in the list.
static NAMES: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
    let mut out = BTreeSet::new();
    Crate::read().print("", &mut out);
    out
});

fn paths() -> Vec<&'static str> {
    NAMES.iter().map(|entry| entry.split([' ', '\n']).next().unwrap_or_default().trim_end_matches(':')).collect()
}

#[test]
fn the_public_names_are_those_on_record() {
    let text = NAMES.iter().cloned().collect::<Vec<_>>().join("\n");
    let mut settings = insta::Settings::new();
    settings.set_snapshot_path(".");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!("public-names", text));
}

#[test]
fn the_root_is_small_and_nothing_has_two_paths() {
    let mut by_name: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let paths = paths();
    for path in paths.iter().filter(|path| !path.starts_with("readside::prelude::")) {
        by_name.entry(path.rsplit("::").next().unwrap_or_default()).or_default().push(path);
    }
    let root = paths.iter().filter(|path| path.matches("::").count() == 1).count();
    assert!(root <= 40, "{root} names at the root");
    by_name.retain(|_, paths| paths.len() > 1);
    // These names mean something else here: laws have their own models and faults.
    by_name.retain(|name, _| !["Model", "Fault", "Row", "check"].contains(name));
    assert!(by_name.is_empty(), "{by_name:?}");
}
