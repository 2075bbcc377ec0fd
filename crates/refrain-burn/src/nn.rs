//! The layers' kernels for Burn modules of one's own.
//!
//! On Burn's CPU backend and for f32, these modules and functions run on the kernels that a
//! [`Sequential`](crate::Sequential) runs on; elsewhere, on Burn's own operations. Losses and optimizers
//! of this crate need nothing of the kind: they take any module that is [`Forward`](crate::Forward).
//!
//! Shapes that do not fit are a panic here, as in Burn's own modules.
//!
//! # Example
//! ```
//! use refrain_burn::burn::module::Module;
//! use refrain_burn::burn::tensor::{Device, Tensor};
//! use refrain_burn::{Forward, nn};
//!
//! /// Two branches over one image: no `Sequential` can do it.
//! #[derive(Module, Debug)]
//! struct Net {
//!     near: nn::Conv2d,
//!     far: nn::Conv2d,
//!     head: nn::Linear,
//! }
//!
//! impl Forward for Net {
//!     type Input = Tensor<4>;
//!     type Output = Tensor<2>;
//!
//!     fn forward(&self, images: Tensor<4>) -> Tensor<2> {
//!         let near = nn::max_pool2d(self.near.forward(images.clone()), [2, 2]);
//!         let far = nn::max_pool2d(self.far.forward(images), [2, 2]);
//!         let both = Tensor::cat(vec![near, far], 1);
//!         self.head.forward(both.flatten(1, 3))
//!     }
//! }
//!
//! let device = Device::default();
//! let net = Net {
//!     near: nn::Conv2dConfig::new(1, 4, 3).padding([1, 1]).relu(true).init(7, &device),
//!     far: nn::Conv2dConfig::new(1, 4, 5).padding([2, 2]).relu(true).init(8, &device),
//!     head: nn::LinearConfig::new(8 * 4 * 4, 10).init(9, &device),
//! };
//! let logits = net.forward(Tensor::zeros([2, 1, 8, 8], &device));
//! assert_eq!(logits.dims(), [2, 10]);
//! ```

mod conv2d;
mod linear;
mod recurrent;

pub use conv2d::{Conv2d, Conv2dConfig, Conv2dOptions, conv2d, max_pool2d};
pub use linear::{Linear, LinearConfig, linear};
pub use recurrent::{Gru, Lstm, RecurrentConfig, SimpleRnn};
