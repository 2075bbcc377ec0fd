//! What an optimizer remembers between steps, on its way to a checkpoint and back.

use std::collections::{BTreeMap, HashMap};

use burn::module::ParamId;
use refrain_core::{Error, Escaped, Result};

use super::values::Values;

/// What an optimizer remembers between steps.
///
/// # Example
/// ```
/// use refrain_burn::{Adam, Optimizer as _, OptimizerState};
/// let mut adam = Adam::new(0.1);
/// adam.begin_step(0.1);
/// assert_eq!(adam.state().step, Some(1));
/// adam.set_state(OptimizerState::default())?;
/// assert_eq!(adam.state().step, Some(0));
/// # Ok::<(), refrain_core::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct OptimizerState {
    /// Steps made, where the formula counts them.
    pub step: Option<u64>,
    /// The momentum, where it was changed after the optimizer was built.
    pub momentum: Option<f64>,
    /// Other numbers, by names without `/`.
    pub numbers: BTreeMap<String, f64>,
    /// What belongs to single parameters, in no order.
    pub slots: Vec<OptimizerSlot>,
}

/// Values that an optimizer keeps for one parameter: mostly as many as it has elements.
#[derive(Clone, Debug)]
pub struct OptimizerSlot {
    /// The parameter.
    pub parameter: ParamId,
    /// What they are: `velocity`.
    pub name: String,
    /// The values.
    pub values: Values,
}

impl OptimizerState {
    /// Takes a copy of what an optimizer keeps under `name` in.
    pub fn put<'a>(
        &mut self,
        name: &str,
        values: impl IntoIterator<Item = (&'a ParamId, &'a Values)>,
    ) {
        self.slots.extend(values.into_iter().map(|(parameter, values)| OptimizerSlot {
            parameter: *parameter,
            name: name.to_owned(),
            values: values.clone(),
        }));
    }

    /// Takes out what is kept under `name`.
    pub fn take(&mut self, name: &str) -> HashMap<ParamId, Values> {
        let (taken, rest) = std::mem::take(&mut self.slots)
            .into_iter()
            .partition(|slot: &OptimizerSlot| slot.name == name);
        self.slots = rest;
        let entry = |slot: OptimizerSlot| (slot.parameter, slot.values);
        taken.into_iter().map(entry).collect()
    }

    /// Refuses what was not taken out: it is another optimizer's.
    ///
    /// # Errors
    /// Naming the first that is left over.
    pub fn finish(&self, optimizer: &str) -> Result {
        let slot = self.slots.first().map(|slot| slot.name.as_str());
        let step = self.step.map(|_| "step");
        let momentum = self.momentum.map(|_| "momentum");
        let number = self.numbers.keys().next().map(String::as_str);
        let Some(left) = slot.or(step).or(momentum).or(number) else {
            return Ok(());
        };
        Err(Error::data(format!(
            "{optimizer} remembers no `{}`; the state is another optimizer's",
            Escaped(left)
        )))
    }
}
