//! MNIST and Fashion-MNIST from a folder of four IDX files.

use std::path::{Path, PathBuf};

use refrain_core::{Error, Result};

use crate::arrays::{Array, ArrayFile, Element};
use crate::images::Images;

/// The files of a data set in the format of MNIST.
///
/// # Example
/// ```
/// use refrain_data::MnistFiles;
/// # let folder = tempfile::tempdir().unwrap();
/// # for (name, bytes) in [
/// #     ("train-images-idx3-ubyte", &b"\0\0\x08\x03\0\0\0\x01\0\0\0\x01\0\0\0\x02\x00\xff"[..]),
/// #     ("train-labels-idx1-ubyte", b"\0\0\x08\x01\0\0\0\x01\x07"),
/// # ] {
/// #     std::fs::write(folder.path().join(name), bytes).unwrap();
/// # }
///
/// let mnist = MnistFiles::find(folder.path())?;
/// let train = mnist.train()?;
/// assert_eq!((train.shape, train.labels), ([1, 1, 2], vec![7]));
/// assert_eq!(train.pixels, [0.0, 1.0]);
/// assert!(mnist.test()?.is_none());
/// # Ok::<(), refrain_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct MnistFiles {
    train: LabelledFiles,
    test: Option<LabelledFiles>,
}

/// A file of images and the file of their labels.
#[derive(Clone, Debug)]
pub struct LabelledFiles {
    /// `[images, height, width]`, bytes.
    pub images: ArrayFile,
    /// `[images]`, bytes.
    pub labels: ArrayFile,
}

impl MnistFiles {
    /// Finds the files in a folder and reads their headers. Each is taken under its usual names
    /// (`train-images-idx3-ubyte`, `train-images.idx3-ubyte`, both also with `.gz`); whether it is
    /// gzipped is seen from its bytes. The two files of the test part may be missing.
    ///
    /// # Errors
    /// When there is no such folder; when a file is missing, naming it and the names that it may have; when one is no IDX file, or
    /// has not the shape of images or labels.
    pub fn find(folder: &Path) -> Result<Self> {
        if !folder.is_dir() {
            let what = if folder.exists() { "is no folder" } else { "does not exist" };
            return Err(Error::data(format!(
                "`{}` {what}; name the folder that holds train-images-idx3-ubyte and the other files of \
                 MNIST",
                folder.display()
            )));
        }
        let both = |part: &str| {
            let images = find(folder, part, "images-idx3-ubyte");
            let labels = find(folder, part, "labels-idx1-ubyte");
            (images, labels)
        };
        let train = match both("train") {
            (Some(images), Some(labels)) => LabelledFiles::open(&images, &labels)?,
            (None, _) => return Err(missing(folder, "train", "images-idx3-ubyte")),
            (_, None) => return Err(missing(folder, "train", "labels-idx1-ubyte")),
        };
        let test = match both("t10k") {
            (Some(images), Some(labels)) => Some(LabelledFiles::open(&images, &labels)?),
            (None, None) => None,
            (None, _) => return Err(missing(folder, "t10k", "images-idx3-ubyte")),
            (_, None) => return Err(missing(folder, "t10k", "labels-idx1-ubyte")),
        };
        Ok(Self { train, test })
    }

    /// Reads the training images, scaled to 0..1.
    ///
    /// # Errors
    /// When a file is damaged.
    pub fn train(&self) -> Result<Images> {
        self.train.read()
    }

    /// Reads the test images, scaled to 0..1; `None` where the folder has none.
    ///
    /// # Errors
    /// When a file is damaged.
    pub fn test(&self) -> Result<Option<Images>> {
        self.test.as_ref().map(LabelledFiles::read).transpose()
    }

    /// The files of the training part.
    pub fn train_files(&self) -> &LabelledFiles {
        &self.train
    }

    /// The files of the test part.
    pub fn test_files(&self) -> Option<&LabelledFiles> {
        self.test.as_ref()
    }
}

impl LabelledFiles {
    fn open(images: &Path, labels: &Path) -> Result<Self> {
        let (images, labels) = (ArrayFile::open_idx(images)?, ArrayFile::open_idx(labels)?);
        let is_bytes = |file: &ArrayFile| file.element() == Element::U8;
        let (&[n, _, _], true) = (images.shape(), is_bytes(&images)) else {
            return Err(wrong_shape(&images, "images are [images, height, width] of u1"));
        };
        let (&[m], true) = (labels.shape(), is_bytes(&labels)) else {
            return Err(wrong_shape(&labels, "labels are [images] of u1"));
        };
        if n != m {
            return Err(Error::data(format!(
                "{} has {n} images, and {} has {m} labels; there must be one for each",
                images.label(),
                labels.label()
            )));
        }
        Ok(Self { images, labels })
    }

    fn read(&self) -> Result<Images> {
        let Array { shape, mut values, .. } = self.images.read()?;
        values.iter_mut().for_each(|value| *value /= 255.0);
        let labels: Vec<u32> = self.labels.read()?.values.iter().map(|&x| x as u32).collect();
        let classes = labels.iter().max().map_or(0, |&largest| largest as usize + 1);
        let side = |axis: usize| shape.get(axis).copied().unwrap_or(0);
        Ok(Images { shape: [1, side(1), side(2)], pixels: values, labels, classes })
    }
}

/// The names that a file may have: of the original, and as some archives unpack it.
fn names(part: &str, kind: &str) -> [String; 4] {
    let (dashes, dot) =
        (format!("{part}-{kind}"), format!("{part}-{}", kind.replacen('-', ".", 1)));
    [dashes.clone(), dot.clone(), format!("{dashes}.gz"), format!("{dot}.gz")]
}

fn find(folder: &Path, part: &str, kind: &str) -> Option<PathBuf> {
    names(part, kind).iter().map(|name| folder.join(name)).find(|path| path.exists())
}

fn missing(folder: &Path, part: &str, kind: &str) -> Error {
    let folder = folder.display();
    let [name, others @ ..] = names(part, kind);
    Error::data(format!(
        "`{folder}` has no `{name}`; a folder of MNIST holds train-images-idx3-ubyte, \
         train-labels-idx1-ubyte, t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte, each gzipped or \
         not ({} will do too)",
        others.join(", ")
    ))
}

fn wrong_shape(file: &ArrayFile, allowed: &str) -> Error {
    Error::data(format!(
        "{} has the shape {:?} of {}; {allowed}",
        file.label(),
        file.shape(),
        file.element()
    ))
}
