//! The files that a checkpoint callback has written, and which of them to keep.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::monitor::{Direction, Monitor};
use crate::state::exact_float;

/// How many files to keep. A file is kept as long as one of the two wants it; without either all
/// are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Keep {
    /// This many of the newest.
    pub(crate) newest: Option<usize>,
    /// This many of the best.
    pub(crate) best: Option<usize>,
}

/// A file that was written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SavedFile {
    /// Where.
    pub path: PathBuf,
    /// After which epoch, counted from 0.
    pub epoch: usize,
    /// The monitored value at the time; none where it was missing.
    #[serde(with = "exact_float", default)]
    pub value: Option<f64>,
}

/// The files that were written and still exist, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct SavedFiles(Vec<SavedFile>);

impl SavedFiles {
    pub(crate) fn files(&self) -> &[SavedFile] {
        &self.0
    }

    /// Puts other paths in the place of all.
    pub(crate) fn map(&mut self, path: impl Fn(&Path) -> PathBuf) {
        for file in &mut self.0 {
            file.path = path(&file.path);
        }
    }

    /// Takes a new file in, and returns the paths that are no longer to be kept; none where the new
    /// file itself would not be kept, and is not to be written.
    pub(crate) fn add(
        &mut self,
        file: SavedFile,
        keep: Keep,
        monitor: &Monitor,
    ) -> Option<Vec<PathBuf>> {
        if keep == Keep::default() {
            // Without a limit the list would grow with the run for nothing.
            self.0 = vec![file];
            return Some(Vec::new());
        }
        let old = self.0.iter().position(|old| old.path == file.path);
        let is_no_worse = |old: &SavedFile| worth(old.value, monitor) >= worth(file.value, monitor);
        if keep.newest.is_none() && old.and_then(|i| self.0.get(i)).is_some_and(is_no_worse) {
            return None;
        }
        if let Some(old) = old {
            // It is overwritten.
            self.0.remove(old);
        }
        self.0.push(file);
        let is_newest = |i: usize| keep.newest.is_some_and(|n| i + n >= self.0.len());
        let is_best = |i: usize| keep.best.is_some_and(|n| self.rank(i, monitor) < n);
        let is_kept: Vec<bool> = (0..self.0.len()).map(|i| is_newest(i) || is_best(i)).collect();
        if is_kept.last() == Some(&false) {
            self.0.pop();
            return None;
        }
        let mut dropped = Vec::new();
        let mut kept = is_kept.into_iter();
        self.0.retain(|file| {
            let is_kept = kept.next().unwrap_or(true);
            if !is_kept {
                dropped.push(file.path.clone());
            }
            is_kept
        });
        Some(dropped)
    }

    /// How many files are better than the `i`-th; of equal ones the older is.
    fn rank(&self, i: usize, monitor: &Monitor) -> usize {
        let Some(own) = self.0.get(i).map(|file| worth(file.value, monitor)) else {
            return usize::MAX;
        };
        let is_better = |(j, other): (usize, &SavedFile)| {
            let other = worth(other.value, monitor);
            other > own || (other == own && j < i)
        };
        self.0.iter().enumerate().filter(|&file| is_better(file)).count()
    }
}

/// Larger is better; a missing value and NaN are worse than every number.
fn worth(value: Option<f64>, monitor: &Monitor) -> (bool, f64) {
    match value {
        Some(value) if !value.is_nan() => match monitor.direction() {
            Direction::Min => (true, -value),
            Direction::Max => (true, value),
        },
        _ => (false, 0.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values that are kept after each of these was saved under a name of its own.
    fn kept(values: &[f64], newest: Option<usize>, best: Option<usize>) -> String {
        let mut files = SavedFiles::default();
        for (epoch, &value) in values.iter().enumerate() {
            let file = SavedFile { path: format!("{epoch}").into(), epoch, value: Some(value) };
            let before = files.files().len();
            let dropped = files.add(file, Keep { newest, best }, &Monitor::min("loss"));
            if newest.is_some() || best.is_some() {
                let dropped = dropped.map_or(1, |dropped| dropped.len());
                assert_eq!(files.files().len() + dropped, before + 1);
            }
        }
        let value = |file: &SavedFile| file.value.map_or("-".into(), |value| value.to_string());
        files.files().iter().map(value).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn keeps_the_newest_the_best_or_both() {
        for (values, newest, best, expected) in [
            (&[3.0, 1.0, 2.0, 4.0][..], Some(2), None, "2 4"),
            (&[3.0, 1.0, 2.0, 4.0], None, Some(2), "1 2"),
            (&[3.0, 1.0, 2.0, 4.0], Some(1), Some(1), "1 4"),
            (&[3.0, 1.0, 2.0, 4.0], None, None, "4"),
            (&[1.0, 1.0, 1.0], None, Some(2), "1 1"),
            (&[f64::NAN, f64::INFINITY, 2.0], None, Some(2), "inf 2"),
            (&[f64::NAN, f64::NAN], None, Some(1), "NaN"),
        ] {
            assert_eq!(kept(values, newest, best), expected, "{values:?} {newest:?} {best:?}");
        }
    }

    #[test]
    fn a_file_of_the_same_name_takes_the_place_of_the_old_one() {
        let newest = Keep { newest: Some(2), best: None };
        let best = Keep { newest: None, best: Some(1) };
        let run = |keep: Keep, saves: &[(&str, f64)]| {
            let mut files = SavedFiles::default();
            let add = |&(path, value): &(&str, f64)| {
                let file = SavedFile { path: path.into(), epoch: 0, value: Some(value) };
                files.add(file, keep, &Monitor::min("loss")).map(|dropped| dropped.len())
            };
            saves.iter().map(add).collect::<Vec<_>>()
        };
        let saves = [("a", 3.0), ("b", 3.0), ("a", 3.0), ("c", 3.0)];
        assert_eq!(run(newest, &saves), [Some(0), Some(0), Some(0), Some(1)]);
        // A worse one does not overwrite the best.
        assert_eq!(run(best, &[("a", 2.0), ("a", 3.0), ("a", 1.0)]), [Some(0), None, Some(0)]);
    }
}
