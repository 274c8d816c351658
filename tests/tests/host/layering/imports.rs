//! Which file of a crate takes something from which other.
//!
//! Paths are followed to where a thing is defined: through `use`, also in groups and under other names, through what a
//! module passes on from another, and where they are written out in the code. Inline `mod tests` and files of tests are
//! left out.

use super::lexer;
use std::collections::{BTreeMap, BTreeSet};

/// A module's path from the top of its crate; empty for the top itself.
type Path = Vec<String>;

/// The files of one crate.
pub struct Crate {
    files: Vec<File>,
    /// The file of each module.
    modules: BTreeMap<Path, usize>,
}

struct File {
    path: String,
    module: Path,
    words: Vec<String>,
    /// What `use` makes names stand for.
    names: BTreeMap<String, Path>,
    /// Everything that is named, from the top of the crate.
    used: BTreeSet<Path>,
}

impl Crate {
    /// A crate of files by their paths below its `src`, and their texts.
    pub fn new<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let files: Vec<File> = files.into_iter().filter(|(path, _)| !is_test(path)).map(File::new).collect();
        let modules = files.iter().enumerate().map(|(i, file)| (file.module.clone(), i)).collect();
        let mut this = Self { files, modules };
        for i in 0..this.files.len() {
            let (names, used) = Reader::new(&this, i).read();
            (this.files[i].names, this.files[i].used) = (names, used);
        }
        this
    }

    /// Every pair of files of which the first takes something from the second, except that files of a module's folder take
    /// things from the module itself: they are parts of it.
    pub fn imports(&self) -> BTreeSet<(&str, &str)> {
        let mut imports = BTreeSet::new();
        for (i, file) in self.files.iter().enumerate() {
            for of in file.used.iter().filter_map(|path| self.definer(path, 0)) {
                let other = &self.files[of];
                if of != i && !file.module.starts_with(&other.module) {
                    imports.insert((file.path.as_str(), other.path.as_str()));
                }
            }
        }
        imports
    }

    /// Files that import each other, be it by way of others: each circle as the sorted paths of its files.
    pub fn circles(&self) -> Vec<Vec<&str>> {
        let imports = self.imports();
        let reach: BTreeMap<&str, BTreeSet<&str>> =
            imports.iter().map(|(file, _)| (*file, reached(&imports, file))).collect();
        let tied = |a: &str, b: &str| reach.get(a).is_some_and(|of| of.contains(b));
        let circles: BTreeSet<Vec<&str>> = reach
            .iter()
            .map(|(a, of)| of.iter().copied().filter(|b| tied(b, a)).collect())
            .filter(|circle: &Vec<&str>| !circle.is_empty())
            .collect();
        circles.into_iter().collect()
    }

    /// The file that defines what is at `path`, if it is one of this crate.
    fn definer(&self, path: &[String], passed_on: usize) -> Option<usize> {
        let depth = (0..=path.len()).rev().find(|&n| self.modules.contains_key(&path[..n]))?;
        let of = self.modules[&path[..depth]];
        let rest = &path[depth..];
        let target = rest.first().and_then(|name| self.files[of].names.get(name));
        match target {
            // Modules that pass each other's things on would have no end.
            Some(target) if passed_on < 8 => {
                let whole: Path = target.iter().chain(&rest[1..]).cloned().collect();
                self.definer(&whole, passed_on + 1)
            }
            _ => Some(of),
        }
    }
}

/// The files that `file` imports, and those that these do, and so on.
fn reached<'a>(imports: &BTreeSet<(&'a str, &'a str)>, file: &'a str) -> BTreeSet<&'a str> {
    let (mut seen, mut next) = (BTreeSet::new(), vec![file]);
    while let Some(file) = next.pop() {
        let more = imports.iter().filter(|(from, _)| *from == file).map(|(_, to)| *to);
        next.extend(more.filter(|to| seen.insert(*to)));
    }
    seen
}

fn is_test(path: &str) -> bool {
    path.split('/').any(|part| part == "tests" || part == "tests.rs")
}

impl File {
    fn new((path, text): (&str, &str)) -> Self {
        let stem = path.trim_end_matches(".rs");
        let module = stem.split('/').filter(|part| !["lib", "mod"].contains(part)).map(str::to_owned).collect();
        let (names, used) = (BTreeMap::new(), BTreeSet::new());
        Self { path: path.to_owned(), module, words: lexer::words(text), names, used }
    }
}

/// Reads the paths of one file.
struct Reader<'a> {
    of: &'a Crate,
    words: &'a [String],
    at: usize,
    /// The module whose code is read: the file's own, or one that stands in it.
    module: Path,
    /// For each open brace, whether a module ends with it.
    braces: Vec<bool>,
    names: BTreeMap<String, Path>,
    used: BTreeSet<Path>,
}

impl<'a> Reader<'a> {
    fn new(of: &'a Crate, file: usize) -> Self {
        let File { words, module, .. } = &of.files[file];
        let (names, used) = (BTreeMap::new(), BTreeSet::new());
        Self { of, words, at: 0, module: module.clone(), braces: Vec::new(), names, used }
    }

    fn read(mut self) -> (BTreeMap<String, Path>, BTreeSet<Path>) {
        // A name may stand before the `use` that it is known from.
        self.pass(true);
        self.pass(false);
        (self.names, self.used)
    }

    /// Goes through the file, looking at what `use` says only, or at everything else.
    fn pass(&mut self, imports: bool) {
        self.at = 0;
        while self.at < self.words.len() {
            match (self.word(0), self.word(1), self.word(2)) {
                ("use", ..) => {
                    self.at += 1;
                    self.tree(&[], imports);
                }
                ("mod", "tests", "{") => self.skip_block(),
                ("mod", name, "{") => {
                    self.module.push(name.to_owned());
                    self.braces.push(true);
                    self.at += 3;
                }
                ("{", ..) => {
                    self.braces.push(false);
                    self.at += 1;
                }
                ("}", ..) => {
                    if self.braces.pop() == Some(true) {
                        self.module.pop();
                    }
                    self.at += 1;
                }
                (first, "::", _) if is_name(first) => {
                    let path = self.path();
                    if let Some(path) = self.resolved(&path).filter(|_| !imports) {
                        self.used.insert(path);
                    }
                }
                _ => self.at += 1,
            }
        }
    }

    fn word(&self, ahead: usize) -> &'a str {
        self.words.get(self.at + ahead).map_or("", String::as_str)
    }

    /// One tree of a `use`, below `prefix`; ends behind it.
    fn tree(&mut self, prefix: &[String], imports: bool) {
        let mut path = prefix.to_vec();
        loop {
            match self.word(0) {
                "::" => self.at += 1,
                "{" => {
                    self.at += 1;
                    while !["}", ""].contains(&self.word(0)) {
                        let at = self.at;
                        self.tree(&path, imports);
                        if self.word(0) == "," || self.at == at {
                            self.at += 1;
                        }
                    }
                    self.at += 1;
                    return;
                }
                "self" if !path.is_empty() => self.at += 1,
                name if is_name(name) || name == "*" => {
                    path.push(name.to_owned());
                    self.at += 1;
                }
                _ => break,
            }
            if self.word(0) == "as" {
                let alias = self.word(1).to_owned();
                self.at += 2;
                return self.import(path, alias, imports);
            }
        }
        if let Some(name) = path.last().cloned() {
            self.import(path, name, imports);
        } else {
            self.at += 1;
        }
    }

    fn import(&mut self, path: Path, name: String, imports: bool) {
        let Some(path) = self.resolved(&path).filter(|_| imports) else { return };
        self.used.insert(path.clone());
        if name != "*" && path.last() != Some(&"*".to_owned()) {
            self.names.insert(name, path);
        }
    }

    /// The path that begins here; ends behind it.
    fn path(&mut self) -> Path {
        let mut path = vec![self.word(0).to_owned()];
        self.at += 1;
        while self.word(0) == "::" && is_name(self.word(1)) {
            path.push(self.word(1).to_owned());
            self.at += 2;
        }
        // A generic argument begins, or a group that is none of `use`.
        if self.word(0) == "::" {
            self.at += 1;
        }
        path
    }

    /// `path` from the top of the crate, if it leads into it.
    fn resolved(&self, path: &[String]) -> Option<Path> {
        let (first, rest) = path.split_first()?;
        let from = |module: &[String], rest: &[String]| Some([module, rest].concat());
        match first.as_str() {
            "crate" => from(&[], rest),
            "self" => from(&self.module, rest),
            "super" => {
                let ups = path.iter().take_while(|part| *part == "super").count();
                from(&self.module[..self.module.len().checked_sub(ups)?], &path[ups..])
            }
            name => {
                let child = [&self.module[..], std::slice::from_ref(first)].concat();
                match self.names.get(name) {
                    Some(known) => from(known, rest),
                    None if self.of.modules.contains_key(&child) => from(&child, rest),
                    None => None,
                }
            }
        }
    }

    /// Goes behind the block of `mod tests {`.
    fn skip_block(&mut self) {
        let mut depth = 0;
        while self.at < self.words.len() {
            match self.word(0) {
                "{" => depth += 1,
                "}" => depth -= 1,
                _ => {}
            }
            self.at += 1;
            if depth == 0 && self.words[self.at - 1] == "}" {
                return;
            }
        }
    }
}

fn is_name(word: &str) -> bool {
    word.starts_with(|c: char| c.is_alphabetic() || c == '_')
}
