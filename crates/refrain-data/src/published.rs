//! Data sets that are downloaded: where they are, and what their files hold.

use std::env;
use std::path::{Path, PathBuf};

use refrain_core::{Error, Result, list_names};

use crate::download::{Download, RemoteFile};

/// A published data set of four files in the format of MNIST.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// 60,000 and 10,000 handwritten digits of 28 × 28 pixels.
    ///
    /// # Source
    /// LeCun, Cortes and Burges; "Gradient-based learning applied to document recognition", 1998.
    Mnist,
    /// 60,000 and 10,000 pieces of clothing of 28 × 28 pixels.
    ///
    /// # Source
    /// Xiao, Rasul and Vollgraf, "Fashion-MNIST", 2017, MIT licence.
    FashionMnist,
}

const fn file(name: &'static str, bytes: u64, sha256: &'static str) -> RemoteFile<'static> {
    RemoteFile { name, bytes, sha256 }
}

const MNIST: [RemoteFile<'static>; 4] = [
    file(
        "train-images-idx3-ubyte.gz",
        9_912_422,
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    ),
    file(
        "train-labels-idx1-ubyte.gz",
        28_881,
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    ),
    file(
        "t10k-images-idx3-ubyte.gz",
        1_648_877,
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    ),
    file(
        "t10k-labels-idx1-ubyte.gz",
        4_542,
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    ),
];

const FASHION_MNIST: [RemoteFile<'static>; 4] = [
    file(
        "train-images-idx3-ubyte.gz",
        26_421_880,
        "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    ),
    file(
        "train-labels-idx1-ubyte.gz",
        29_515,
        "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
    ),
    file(
        "t10k-images-idx3-ubyte.gz",
        4_422_102,
        "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    ),
    file(
        "t10k-labels-idx1-ubyte.gz",
        5_148,
        "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    ),
];

impl Published {
    /// Its name in recipes and in the cache.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mnist => "mnist",
            Self::FashionMnist => "fashion_mnist",
        }
    }

    /// Its four files.
    pub fn files(self) -> &'static [RemoteFile<'static>; 4] {
        match self {
            Self::Mnist => &MNIST,
            Self::FashionMnist => &FASHION_MNIST,
        }
    }

    /// Number of samples for training, and for the test.
    pub fn samples(self) -> (usize, usize) {
        (60_000, 10_000)
    }

    /// Where its files are published. The environment variable `REFRAIN_MIRROR`, an address below
    /// which there is a folder for each data set, replaces them.
    pub fn mirrors(self) -> Vec<String> {
        if let Some(mirror) = env::var("REFRAIN_MIRROR").ok().filter(|mirror| !mirror.is_empty()) {
            return vec![format!("{}/{}/", mirror.trim_end_matches('/'), self.name())];
        }
        // Their contents are known, so that they need no TLS.
        let mirrors = match self {
            Self::Mnist => [
                "http://ossci-datasets.s3.amazonaws.com/mnist/",
                "http://storage.googleapis.com/cvdf-datasets/mnist/",
            ],
            Self::FashionMnist => [
                "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
                "http://storage.googleapis.com/tensorflow/tf-keras-datasets/",
            ],
        };
        mirrors.map(str::to_owned).to_vec()
    }

    /// The folder with its files, which are downloaded into `cache` where they are not there.
    ///
    /// # Errors
    /// When a file cannot be had; the message names the files and where to put them.
    pub fn fetch(self, download: &Download, cache: &Path) -> Result<PathBuf> {
        let folder = cache.join(self.name());
        for file in self.files() {
            download.fetch(file, &folder).map_err(|error| {
                if !error.is_data() {
                    return error;
                }
                let names = list_names(self.files().iter().map(|file| file.name));
                Error::data(format!(
                    "{error}; without network, put the files {names} into `{}`, or name a folder that \
                     has them: path = \"DIR\"",
                    folder.display()
                ))
            })?;
        }
        Ok(folder)
    }
}
