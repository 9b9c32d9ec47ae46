//! What holds for every config and for every text that is none, tried on thousands that nobody
//! wrote. They are made up from a seed, and so the same on every run.

mod agreement;
mod following;
mod front;
mod options;
pub(crate) mod spelling;
mod text;
pub(crate) mod valid;
mod webhooks;

use std::fs;
use std::path::Path;

use crate::config::problem::Problem;
use crate::config::properties::spelling::{Style, write};
use crate::config::secret::Around;
use crate::config::{Loaded, parse_in};
use crate::model::config::Config;

/// A good one.
pub(crate) fn config(seed: u64) -> Config {
    let mut random = Random::new(seed);
    let spec = valid::config(&mut random);
    let (text, world) = write(&spec, Style::Compact, &mut random);
    world.parse(&text).config.unwrap_or_else(|| panic!("seed {seed} is bad"))
}

/// By xorshift64*.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(number).unwrap() % limit
    }

    /// The ends more often than what is between them: that is where rules are.
    pub(crate) fn within(&mut self, low: u64, high: u64) -> u64 {
        match self.below(4) {
            0 => low,
            1 => high,
            _ => low + u64::try_from(self.below(usize::MAX)).unwrap() % (high - low + 1),
        }
    }

    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }

    pub(crate) fn word<'w>(&mut self, all: &[&'w str]) -> &'w str {
        all[self.below(all.len())]
    }

    pub(crate) fn shuffle<T>(&mut self, all: &mut [T]) {
        for last in (1..all.len()).rev() {
            all.swap(last, self.below(last + 1));
        }
    }
}

/// What a made-up config takes from around it: `${T0}` is the first of `variables`, and the file
/// `/made/up/0` holds the first of `files`.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) variables: Vec<String>,
    pub(crate) files: Vec<String>,
}

impl World {
    pub(crate) fn parse(&self, text: &str) -> Loaded {
        let number = |name: &str| name.parse::<usize>().ok();
        let variable = |name: &str| {
            let number = name.strip_prefix('T').and_then(number)?;
            self.variables.get(number).cloned()
        };
        let file = |path: &Path| {
            let number = path.to_str().and_then(|p| p.strip_prefix("/made/up/")).and_then(number);
            let text = number.and_then(|n| self.files.get(n)).cloned();
            text.ok_or_else(|| "there is no such file".to_owned())
        };
        let exists = |path: &Path| file(path).is_ok();
        let around =
            Around { variable: &variable, file: &file, public_file: &file, exists: &exists };
        parse_in("config.json", text, &around)
    }
}

pub(crate) fn errors(loaded: &Loaded) -> Vec<&Problem> {
    loaded.problems.iter().filter(|p| !p.is_warning).collect()
}

/// What people wrote: the examples, and configs of the black-box tests.
pub(crate) fn written(folders: &[&str]) -> Vec<String> {
    let entries = folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap());
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|e| e == "json"));
    paths.sort();
    assert!(!paths.is_empty(), "{folders:?} hold no config");
    paths.iter().map(|path| fs::read_to_string(path).unwrap()).collect()
}
