//! Randomness as a function of (seed, purpose, index): nothing to save, nothing to restore.

use chacha20::ChaCha8Rng;
use rand::RngExt as _;
use rand::SeedableRng as _;

/// What random numbers are for; each purpose has its own stream.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    DataOrder = 1,
    Step = 2,
}

fn stream(seed: u64, purpose: Purpose, index: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8] = purpose as u8;
    let mut rng = ChaCha8Rng::from_seed(key);
    rng.set_stream(index);
    rng
}

/// A permutation of `0..n` that depends on seed and epoch alone. Cost: O(n).
pub(crate) fn permute(indices: &mut [usize], seed: u64, epoch: u64) {
    let mut rng = stream(seed, Purpose::DataOrder, epoch);
    for i in (1..indices.len()).rev() {
        let j = rng.random_range(0..=i as u64) as usize;
        indices.swap(i, j);
    }
}

/// The seed of everything random in one step.
pub(crate) fn step_seed(seed: u64, step: u64) -> u64 {
    stream(seed, Purpose::Step, step).random()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_a_function_of_seed_and_epoch() {
        let order = |seed, epoch| {
            let mut indices: Vec<usize> = (0..100).collect();
            permute(&mut indices, seed, epoch);
            indices
        };
        assert_eq!(order(42, 3), order(42, 3));
        assert_ne!(order(42, 3), order(42, 4));
        assert_ne!(order(42, 3), order(43, 3));
        let mut sorted = order(42, 3);
        sorted.sort_unstable();
        assert_eq!(sorted, (0..100).collect::<Vec<_>>());
    }
}
