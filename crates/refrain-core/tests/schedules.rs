//! Schedules against Keras 3.15.1, against formulas worked out by hand, and against what holds of
//! all of them.

use refrain_core::options::Document;
use refrain_core::schedule::{
    self, Anneal, Chain, Clamp, Constant, CosineDecay, CosineDecayRestarts, Cyclic, CyclicMode,
    DecayShape, ExponentialDecay, InverseSquareRoot, Linear, Multiply, OneCycle,
    PiecewiseConstantDecay, PolynomialDecay, Rate, Repeat, Schedule, StepDecay, Unit, Warmup,
    WarmupStableDecay,
};
use refrain_core::testing::Script;
use refrain_core::{Finding, Fit, Progress, RunPlan, Trainer};
use serde_json::{Value as Json, json};

fn read(options: &Json, unit: Unit) -> refrain_core::Result<Box<dyn Schedule>> {
    schedule::read(&Document::from_json("recipe", options).value(), unit)
}

fn at(step: u64) -> Progress {
    Progress { step, ..Progress::default() }
}

/// Step `step` of a run of `epochs` epochs of `steps_per_epoch` steps.
fn in_run(step: u64, epochs: usize, steps_per_epoch: usize) -> Progress {
    let epoch = (step / steps_per_epoch as u64) as usize;
    Progress { epoch, epochs, step, steps_per_epoch, ..Progress::default() }
}

#[track_caller]
fn assert_near(found: f64, expected: f64, what: &str) {
    let tolerance = 1e-12 * expected.abs().max(1e-3);
    assert!((found - expected).abs() <= tolerance, "{what}: {found}, expected {expected}");
}

#[track_caller]
fn check(schedule: impl Schedule, expected: &[(u64, f64)]) {
    schedule.check().unwrap();
    for (step, rate) in expected {
        assert_near(schedule.learning_rate(&at(*step)), *rate, &format!("step {step}"));
    }
}

#[test]
fn same_numbers_as_keras_at_every_step() {
    // Recorded in float64 by `keras/record_schedules.py`. Powers and cosines of two libraries may
    // differ in the last digits; rounding of the argument of a cosine adds to it.
    let mut compared = 0;
    let mut restarts_misplaced = 0;
    for line in include_str!("keras/schedules.jsonl").lines() {
        let case: Json = serde_json::from_str(line).unwrap();
        let options = &case["options"];
        let schedule = read(options, Unit::Steps).unwrap_or_else(|e| panic!("{options}: {e}"));
        let steps = case["steps"].as_array().unwrap().iter().map(|s| s.as_u64().unwrap());
        let rates = case["rates"].as_array().unwrap().iter().map(|r| r.as_f64().unwrap());
        for (step, keras) in steps.zip(rates) {
            let ours = schedule.learning_rate(&at(step));
            let initial = options["initial_learning_rate"].as_f64().unwrap_or(0.0);
            let scale = keras.abs().max(initial);
            if (ours - keras).abs() <= 1e-12 * scale {
                compared += 1;
                continue;
            }
            // Keras finds restarts with a logarithm; exactly at one it may come out a step late.
            let is_restart = options["type"] == "cosine_decay_restarts" && {
                let just_before = schedule.learning_rate(&at(step.saturating_sub(1)));
                just_before < ours
            };
            assert!(is_restart, "{options} at step {step}: {ours}, Keras {keras}");
            restarts_misplaced += 1;
        }
    }
    assert!(compared > 5000, "{compared}");
    assert!(restarts_misplaced < 4, "{restarts_misplaced}");
}

#[test]
fn edges_of_keras_schedules() {
    check(
        PiecewiseConstantDecay::new([100.0, 200.0], [1.0, 0.5, 0.1]),
        &[(0, 1.0), (100, 1.0), (101, 0.5), (200, 0.5), (201, 0.1)],
    );
    check(PiecewiseConstantDecay::new([], [0.3]), &[(0, 0.3), (9, 0.3)]);
    check(
        PolynomialDecay::new(0.1, 10.0).cycle(true),
        &[(0, 0.1), (10, 0.0001), (11, 0.0999 * 0.45 + 0.0001), (20, 0.0001)],
    );
    check(CosineDecay::new(0.3, 4.0).warmup(0.1, 0.0), &[(0, 0.1), (2, 0.05), (4, 0.0)]);
    check(
        CosineDecayRestarts::new(1.0, 4.0).t_mul(1.0).m_mul(0.5).alpha(0.1),
        &[(0, 1.0), (4, 0.55)],
    );
    // A whole number is a rate like any other: Keras computes with whole numbers then.
    let schedule = read(
        &json!({ "type": "cosine_decay", "initial_learning_rate": 0, "decay_steps": 10,
                 "warmup_target": 1, "warmup_steps": 4 }),
        Unit::Steps,
    );
    assert_eq!(schedule.unwrap().learning_rate(&at(1)), 0.25);
}

#[test]
fn restarts_are_where_they_should_be() {
    // Stretches of 3 × (1, 3, 9, …), far beyond where a logarithm is exact.
    let decay = CosineDecayRestarts::new(1.0, 3.0).t_mul(3.0);
    let mut begin = 0_u64;
    for restarts in 0..25 {
        assert_eq!(decay.learning_rate(&at(begin)), 1.0, "restart {restarts} at {begin}");
        if begin > 0 {
            assert!(decay.learning_rate(&at(begin - 1)) < 0.26, "before {begin}");
        }
        begin += 3 * 3_u64.pow(restarts);
    }
}

#[test]
fn step_decay_drops_at_multiples() {
    check(StepDecay::new(1.0, 3.0), &[(0, 1.0), (2, 1.0), (3, 0.1), (5, 0.1), (6, 0.01)]);
}

#[test]
fn one_cycle_by_pytorchs_formulas() {
    // total_steps 11, pct_start 0.4: the rise ends at 3.4, the fall at 10.
    let cos = |from: f64, to: f64, done: f64| {
        to + (from - to) / 2.0 * (1.0 + (std::f64::consts::PI * done).cos())
    };
    let cycle = || OneCycle::new(1.0, 11.0).pct_start(0.4).div_factor(10.0).final_div_factor(100.0);
    check(
        cycle(),
        &[
            (0, 0.1),
            (2, cos(0.1, 1.0, 2.0 / 3.4)),
            (4, cos(1.0, 0.001, 0.6 / 6.6)),
            (10, 0.001),
            (50, 0.001),
        ],
    );
    check(
        cycle().anneal_strategy(Anneal::Linear),
        &[(1, 0.1 + 0.9 / 3.4), (7, 1.0 - 0.999 * 3.6 / 6.6)],
    );
    // Three phases: up to 3.4, back to 6.8, then down to 10.
    let three = cycle().three_phase(true).anneal_strategy(Anneal::Linear);
    for (step, momentum) in
        [(0, 0.95), (2, 0.95 - 0.1 * 2.0 / 3.4), (5, 0.85 + 0.1 * 1.6 / 3.4), (9, 0.95)]
    {
        assert_near(three.momentum(&at(step)).unwrap(), momentum, &format!("step {step}"));
    }
    check(three, &[(5, 1.0 - 0.9 * 1.6 / 3.4), (9, 0.1 - 0.099 * 2.2 / 3.2), (10, 0.001)]);
    assert_eq!(cycle().cycle_momentum(false).momentum(&at(0)), None);
    // Nothing rises: PyTorch divides by zero.
    check(OneCycle::new(1.0, 10.0).pct_start(0.1), &[(0, 1.0)]);
}

#[test]
fn cyclic_by_pytorchs_formulas() {
    let cyclic = |mode| Cyclic::new(0.1, 0.5).step_size_up(4.0).step_size_down(2.0).mode(mode);
    let expected = [(0, 0.1), (1, 0.2), (4, 0.5), (5, 0.3), (6, 0.1), (10, 0.5)];
    check(cyclic(CyclicMode::Triangular), &expected);
    check(cyclic(CyclicMode::Triangular2), &[(4, 0.5), (10, 0.3), (11, 0.2), (16, 0.2)]);
    let range = cyclic(CyclicMode::ExpRange).gamma(0.5);
    check(
        range,
        &[(0, 0.1), (1, 0.1 + 0.1 * 0.5), (4, 0.1 + 0.4 / 16.0), (10, 0.1 + 0.4 / 1024.0)],
    );
}

#[test]
fn warmup_stable_decay_and_inverse_square_root() {
    let schedule = |shape| WarmupStableDecay::new(1.0, 4.0, 6.0, 4.0).decay(shape);
    let linear = schedule(DecayShape::Linear).end_learning_rate(0.2);
    check(linear, &[(0, 0.0), (1, 0.25), (4, 1.0), (10, 1.0), (11, 0.8), (14, 0.2), (99, 0.2)]);
    check(schedule(DecayShape::Cosine), &[(12, 0.5), (14, 0.0)]);
    check(schedule(DecayShape::OneMinusSqrt), &[(11, 0.5), (14, 0.0)]);
    check(
        InverseSquareRoot::new(1.0).warmup_steps(4.0).timescale(1.0),
        &[(2, 0.5), (4, 1.0), (7, 0.5)],
    );
    check(InverseSquareRoot::new(1.0), &[(0, 1.0), (30_000, 0.5)]);
}

#[test]
fn every_unit_gives_the_same_run() {
    // 4 epochs of 5 steps, halved after half of it.
    let decay = |length, unit| StepDecay::new(1.0, length).decay_rate(0.5).unit(unit);
    for step in 0..20 {
        let progress = in_run(step, 4, 5);
        let expected = if step < 10 { 1.0 } else { 0.5 };
        for (length, unit) in [(10.0, Unit::Steps), (2.0, Unit::Epochs), (0.5, Unit::Fraction)] {
            let rate = decay(length, unit).learning_rate(&progress);
            assert_eq!(rate, expected, "step {step}, {unit:?}");
        }
    }
    // Without the number of steps a fraction is one of the epochs.
    let unknown = Progress { epoch: 2, epochs: 4, step: 10, ..Progress::default() };
    assert_eq!(decay(0.5, Unit::Fraction).learning_rate(&unknown), 0.5);
}

#[test]
fn parts_of_a_chain_begin_at_their_own_zero() {
    let line = || Linear::new(1.0, 10.0);
    let chain = Chain::new(Constant::new(1.0)).then(5.0, line()).then(10.0, line());
    check(chain, &[(4, 1.0), (5, 1.0), (7, 0.8), (9, 0.6), (10, 1.0), (20, 0.0)]);
    // A fraction inside a chain is one of the part: 30 % of 47 steps are 15, the rest 32.
    let half = || Linear::new(1.0, 1.0).unit(Unit::Fraction);
    let chain = Chain::new(half()).then(0.3, half()).unit(Unit::Fraction);
    for (step, rate) in [(0, 1.0), (3, 0.8), (14, 1.0 / 15.0), (15, 1.0), (31, 0.5)] {
        let progress = Progress { epochs: 1, steps_per_epoch: 47, ..at(step) };
        assert_near(chain.learning_rate(&progress), rate, &format!("step {step}"));
    }
    // Epochs inside a chain of steps: the second part begins within epoch 2.
    let epochs = Linear::new(1.0, 2.0).unit(Unit::Epochs);
    let chain = Chain::new(Constant::new(0.3)).then(12.0, epochs);
    for (step, rate) in [(11, 0.3), (12, 1.0), (14, 1.0), (15, 0.5), (20, 0.0)] {
        assert_eq!(chain.learning_rate(&in_run(step, 6, 5)), rate, "step {step}");
    }
    // By epochs: steps count from the epoch with which the part begins.
    let chain = Chain::new(Constant::new(0.3)).then(2.0, line().unit(Unit::Steps));
    let chain = chain.unit(Unit::Epochs);
    for (step, rate) in [(9, 0.3), (10, 1.0), (15, 0.5)] {
        assert_eq!(chain.learning_rate(&in_run(step, 6, 5)), rate, "step {step}");
    }
}

#[test]
fn combinators() {
    check(
        Multiply::new(StepDecay::new(1.0, 2.0).decay_rate(0.5)).by(Linear::new(1.0, 4.0)),
        &[(0, 1.0), (1, 0.75), (2, 0.25), (4, 0.0)],
    );
    check(
        Warmup::new(ExponentialDecay::new(1.0, 2.0, 0.25), 4.0).initial_learning_rate(0.2),
        &[(0, 0.2), (2, 0.6), (4, 1.0), (5, 0.5), (6, 0.25)],
    );
    check(Clamp::new(Linear::new(1.0, 10.0)).min(0.3).max(0.6), &[(0, 0.6), (5, 0.5), (9, 0.3)]);
    check(Repeat::new(Linear::new(1.0, 4.0), 3.0), &[(0, 1.0), (2, 0.5), (3, 1.0), (7, 0.75)]);
    // Each third of the run anew; 0.1 + 0.2 is not 0.3 here either.
    let thirds = Repeat::new(Linear::new(1.0, 1.0), 0.1).unit(Unit::Fraction);
    for step in 0..70 {
        let rate = thirds.learning_rate(&in_run(step, 7, 10));
        assert_near(rate, 1.0 - (step % 7) as f64 / 7.0, &format!("step {step}"));
    }
    let cycle = || OneCycle::new(1.0, 10.0);
    for schedule in [
        Box::new(Clamp::new(cycle()).max(0.5)) as Box<dyn Schedule>,
        Box::new(Multiply::new(Constant::new(0.5)).by(cycle())),
        Box::new(Repeat::new(cycle(), 10.0)),
        Box::new(Chain::new(cycle()).then(10.0, Constant::new(0.1))),
    ] {
        assert_eq!(schedule.momentum(&at(3)), cycle().momentum(&at(3)));
    }
    assert_eq!(Warmup::new(cycle(), 5.0).momentum(&at(2)), Some(0.95));
    assert_eq!(Warmup::new(cycle(), 5.0).momentum(&at(8)), cycle().momentum(&at(3)));
}

#[test]
fn a_warmup_is_continuous_and_a_clamp_keeps_within() {
    for length in 1..30_u32 {
        let length = f64::from(length);
        let inner = || CosineDecay::new(0.7, 40.0).alpha(0.05);
        let warm = Warmup::new(inner(), length);
        let clamped = Clamp::new(Warmup::new(inner(), length)).min(0.1).max(0.4);
        let mut before = warm.learning_rate(&at(0));
        for step in 0..100 {
            let rate = warm.learning_rate(&at(step));
            let most = (0.7 / length).max(0.7 * std::f64::consts::PI / 80.0) + 1e-12;
            assert!((rate - before).abs() <= most, "warm-up {length}, step {step}");
            before = rate;
            let rate = clamped.learning_rate(&at(step));
            assert!((0.1..=0.4).contains(&rate), "{rate}");
        }
    }
}

#[test]
fn anything_that_is_a_rate_becomes_one() {
    let shown = |rate: Rate| format!("{rate:?}");
    assert_eq!(shown(0.1.into()), "0.1");
    let boxed: Box<dyn Schedule> = Box::new(Constant::new(0.1));
    assert_eq!(shown(boxed.into()), "schedule");
    assert_eq!(shown((|p: &Progress| 0.1 / (p.epoch + 1) as f64).into()), "schedule");
    assert_eq!(shown(Chain::new(Constant::new(0.1)).into()), "schedule");
}

#[test]
fn a_run_may_begin_at_zero() {
    let script = Script::losses(&[1.0]);
    let warm = Warmup::new(Constant::new(0.4), 4.0);
    let mut trainer = Trainer::new(script.learner(), warm);
    let fit = Fit::epochs(3).batch_size(1).verbose(0);
    let history = trainer.fit(&script.samples(2), fit).unwrap();
    // The rate of the last step of each epoch.
    for (rate, expected) in history.column("learning_rate").into_iter().zip([0.1, 0.3, 0.4]) {
        assert_near(rate.unwrap(), expected, "last step");
    }
}

/// Code and text of what is found.
fn found(schedule: impl Schedule, epochs: usize, steps_per_epoch: usize) -> Vec<String> {
    let plan = RunPlan { epochs, steps_per_epoch, ..RunPlan::default() };
    let shown = |finding: Finding| format!("{}: {finding}", finding.code);
    schedule.findings(&plan).into_iter().map(shown).collect()
}

#[test]
fn a_horizon_that_is_not_the_runs() {
    let none = [""; 0];
    let cosine = |steps| CosineDecay::new(0.1, steps);
    assert_eq!(found(cosine(120.0), 10, 12), none);
    assert_eq!(
        found(cosine(100.0), 10, 12),
        ["schedule-horizon: `cosine_decay` ends after 100 steps, the run after 120 steps; \
          set decay_steps to 120"]
    );
    assert_eq!(
        found(cosine(50.0).unit(Unit::Epochs), 10, 0),
        ["schedule-horizon: `cosine_decay` ends after 50 epochs, the run after 10 epochs; \
          set decay_steps to 10"]
    );
    assert_eq!(
        found(cosine(100.0).warmup(0.1, 30.0), 10, 12),
        ["schedule-horizon: `cosine_decay` ends after 130 steps, the run after 120 steps; \
          set decay_steps to 90"]
    );
    // Not known, no horizon, or meant.
    assert_eq!(found(cosine(100.0), 10, 0), none);
    assert_eq!(found(cosine(0.8).unit(Unit::Fraction), 10, 0), none);
    assert_eq!(found(PolynomialDecay::new(0.1, 5.0).cycle(true), 10, 12), none);
    assert_eq!(found(ExponentialDecay::new(0.1, 5.0, 0.5), 10, 12), none);
    assert_eq!(found(StepDecay::new(0.1, 500.0), 10, 12), none);
    assert_eq!(found(Cyclic::new(0.1, 0.2), 10, 12), none);
    assert_eq!(found(CosineDecayRestarts::new(0.1, 7.0), 10, 12), none);
    assert_eq!(found(InverseSquareRoot::new(0.1).warmup_steps(60.0), 10, 12), none);
    // The others that end.
    for schedule in [
        Box::new(PolynomialDecay::new(0.1, 100.0)) as Box<dyn Schedule>,
        Box::new(Linear::new(0.1, 100.0)),
        Box::new(OneCycle::new(0.1, 100.0)),
        Box::new(WarmupStableDecay::new(0.1, 10.0, 80.0, 10.0)),
        Box::new(Clamp::new(Linear::new(0.1, 100.0))),
        Box::new(Multiply::new(Constant::new(0.1)).by(Linear::new(1.0, 100.0))),
        Box::new(Warmup::new(Linear::new(0.1, 100.0), 10.0)),
        Box::new(Repeat::new(Linear::new(0.1, 100.0), 60.0)),
        Box::new(Chain::new(Constant::new(0.1)).then(10.0, Linear::new(0.1, 100.0))),
        Box::new(Chain::new(Constant::new(0.1)).then(120.0, Constant::new(0.2))),
    ] {
        let found = found(schedule, 10, 12);
        assert!(found.len() == 1 && found[0].starts_with("schedule-horizon"), "{found:?}");
    }
    // Combined, and as long as the run: 120 steps are 20 and 100, 10 epochs 3 and 7.
    assert_eq!(found(Warmup::new(cosine(100.0), 20.0), 10, 12), none);
    let line = || Linear::new(0.1, 7.0);
    assert_eq!(found(Warmup::new(line(), 3.0).unit(Unit::Epochs), 10, 12), none);
    assert_eq!(found(Warmup::new(line(), 3.0).unit(Unit::Epochs), 10, 0), none);
    let chain = Chain::new(Linear::new(0.1, 3.0)).then(3.0, line()).unit(Unit::Epochs);
    assert_eq!(found(chain, 10, 12), none);
}

#[test]
fn a_warmup_longer_than_the_run() {
    assert_eq!(
        found(CosineDecay::new(0.0, 10.0).warmup(0.1, 121.0), 10, 12),
        ["long-warmup: the warm-up of `cosine_decay` takes 121 steps, the run 120 steps; \
          shorten warmup_steps, or train longer"]
    );
    for schedule in [
        Box::new(InverseSquareRoot::new(0.1).warmup_steps(121.0)) as Box<dyn Schedule>,
        Box::new(WarmupStableDecay::new(0.1, 121.0, 0.0, 10.0)),
        Box::new(Warmup::new(Linear::new(0.1, 100.0), 121.0)),
    ] {
        let found = found(schedule, 10, 12);
        assert!(found.len() == 1 && found[0].starts_with("long-warmup"), "{found:?}");
    }
    let options = json!({ "type": "cosine_decay", "initial_learning_rate": 0.1,
                          "decay_steps": 120, "warmup_steps": 5 });
    let found = found(read(&options, Unit::Steps).unwrap(), 10, 12);
    assert!(found.len() == 1 && found[0].starts_with("ignored-option"), "{found:?}");
}

#[test]
fn a_part_that_cannot_know_where_it_begins_says_so() {
    let chain = || {
        let epochs = Linear::new(0.1, 5.0).unit(Unit::Epochs);
        Chain::new(Constant::new(0.1)).then(10.0, epochs)
    };
    assert!(found(chain(), 10, 0)[0].starts_with("unknown-steps"), "{:?}", found(chain(), 10, 0));
}

#[test]
fn options_out_of_range_are_refused() {
    let nan = f64::NAN;
    for (schedule, text) in [
        (
            Box::new(ExponentialDecay::new(0.1, 0.0, 0.5)) as Box<dyn Schedule>,
            "decay_steps is 0; allowed: a finite number above 0",
        ),
        (
            Box::new(ExponentialDecay::new(-0.1, 1.0, 0.5)),
            "initial_learning_rate is -0.1; allowed: a finite number, 0 or more",
        ),
        (Box::new(CosineDecay::new(nan, 1.0)), "initial_learning_rate is NaN; allowed: "),
        (Box::new(CosineDecay::new(0.1, 1.0).alpha(-0.1)), "alpha is -0.1; allowed: "),
        (Box::new(CosineDecay::new(0.1, 1.0).warmup(0.1, -1.0)), "warmup_steps is -1; allowed: "),
        (
            Box::new(CosineDecayRestarts::new(0.1, 1.0).t_mul(0.5)),
            "t_mul is 0.5; allowed: a finite number, 1 or more",
        ),
        (
            Box::new(PiecewiseConstantDecay::new([5.0, 2.0], [1.0, 0.1, 0.01])),
            "boundaries is [5.0, 2.0]; allowed: numbers that rise",
        ),
        (
            Box::new(PiecewiseConstantDecay::new([5.0], [1.0])),
            "the length of values is 1; allowed: one more than boundaries, of which there are 1",
        ),
        (Box::new(PolynomialDecay::new(0.1, 1.0).power(nan)), "power is NaN; allowed: "),
        (Box::new(OneCycle::new(0.1, 10.0).pct_start(1.5)), "pct_start is 1.5; allowed: 0 to 1"),
        (
            Box::new(OneCycle::new(0.1, 10.0).max_momentum(1.0)),
            "max_momentum is 1; allowed: 0 or more, below 1",
        ),
        (Box::new(Cyclic::new(0.2, 0.1)), "max_lr is 0.1; allowed: base_lr, 0.2, or more"),
        (Box::new(Linear::new(0.1, f64::INFINITY)), "decay_steps is inf; allowed: "),
        (
            Box::new(Chain::new(Constant::new(1.0)).then(0.0, Constant::new(1.0))),
            "milestones is [0.0]; allowed: numbers above 0 that rise",
        ),
        (
            Box::new(Chain::new(Constant::new(1.0)).then(1.0, Linear::new(1.0, 0.0))),
            "schedule 2: decay_steps is 0; allowed: a finite number above 0",
        ),
        (Box::new(Multiply::new(Constant::new(nan))), "schedule 1: learning_rate is NaN"),
        (Box::new(Warmup::new(Constant::new(0.1), 0.0)), "warmup_steps is 0; allowed: "),
        (
            Box::new(Clamp::new(Constant::new(0.1)).min(0.5).max(0.1)),
            "max_learning_rate is 0.1; allowed: min_learning_rate, 0.5, or more",
        ),
        (Box::new(Repeat::new(Constant::new(0.1), nan)), "period is NaN; allowed: "),
    ] {
        let error = schedule.check().unwrap_err();
        assert!(error.is_config());
        assert!(error.to_string().starts_with(text), "{error}");
    }
    let script = Script::losses(&[1.0]);
    let mut trainer = Trainer::new(script.learner(), CosineDecay::new(0.1, 0.0));
    let error = trainer.fit(&script.data(), Fit::epochs(1).verbose(0)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the optimizer's schedule: decay_steps is 0; allowed: a finite number above 0"
    );
}

#[test]
fn from_a_recipe() {
    // (options, step, rate of that step in a run of 10 epochs of 10 steps)
    for (options, step, rate) in [
        (json!(0.1), 5, 0.1),
        (json!(1), 5, 1.0),
        (json!({ "type": "constant", "learning_rate": 0.2 }), 5, 0.2),
        (json!({ "type": "step_decay", "initial_learning_rate": 1, "decay_steps": 10 }), 25, 0.01),
        (
            json!({ "type": "linear", "initial_learning_rate": 1, "decay_steps": 2,
                 "unit": "epochs" }),
            15,
            0.5,
        ),
        (
            json!({ "type": "one_cycle", "max_lr": 1, "total_steps": 100, "div_factor": 10,
                 "anneal_strategy": "linear" }),
            0,
            0.1,
        ),
        (
            json!({ "type": "cyclic", "base_lr": 0, "max_lr": 1, "step_size_up": 10,
                 "mode": "triangular2" }),
            30,
            0.5,
        ),
        (
            json!({ "type": "warmup_stable_decay", "learning_rate": 1, "warmup_steps": 10,
                 "stable_steps": 80, "decay_steps": 10, "decay": "one_minus_sqrt" }),
            5,
            0.5,
        ),
        (json!({ "type": "inverse_square_root", "learning_rate": 1, "warmup_steps": 4 }), 16, 0.5),
        (
            json!({ "type": "chain", "milestones": [5], "unit": "epochs", "schedules": [
            0.1, { "type": "linear", "initial_learning_rate": 1, "decay_steps": 5 }] }),
            70,
            0.6,
        ),
        (json!({ "type": "multiply", "schedules": [0.5, 0.5] }), 0, 0.25),
        (json!({ "type": "warmup", "warmup_steps": 10, "schedule": 0.4 }), 5, 0.2),
        (json!({ "type": "clamp", "min_learning_rate": 0.3, "schedule": 0.1 }), 5, 0.3),
        (
            json!({ "type": "repeat", "period": 0.1, "unit": "fraction", "schedule":
            { "type": "linear", "initial_learning_rate": 1, "decay_steps": 1 } }),
            15,
            0.5,
        ),
    ] {
        let schedule = read(&options, Unit::Steps).unwrap_or_else(|e| panic!("{options}: {e}"));
        assert_near(schedule.learning_rate(&in_run(step, 10, 10)), rate, &options.to_string());
    }
}

#[test]
fn what_a_recipe_may_not_say() {
    for (options, text) in [
        (json!("cosine"), "not a rate; allowed: a number, or a schedule such as"),
        (json!(-1), "learning_rate is -1; allowed: a finite number, 0 or more"),
        (json!({ "initial_learning_rate": 1 }), "the schedule needs `type`"),
        (
            json!({ "type": "cosine_decy" }),
            "unknown schedule `cosine_decy`; did you mean `cosine_decay`?",
        ),
        (
            json!({ "type": "cosine_decay", "initial_learning_rate": 1 }),
            "schedule cosine_decay needs `decay_steps`, for example decay_steps = 100",
        ),
        (
            json!({ "type": "linear", "initial_learning_rate": 1, "decay_steps": 0 }),
            "decay_steps is 0; allowed: a finite number above 0",
        ),
        (
            json!({ "type": "linear", "initial_learning_rate": 1, "decay_steps": 5, "powr": 1 }),
            "unknown key `powr`",
        ),
        (
            json!({ "type": "linear", "initial_learning_rate": 1, "decay_steps": 5,
                    "unit": "epoch" }),
            "unknown unit `epoch`; did you mean `epochs`?",
        ),
        (
            json!({ "type": "chain", "schedules": [0.1, 0.2], "milestones": [] }),
            "the number of milestones is 0; allowed: 1, one fewer than schedules",
        ),
        (json!({ "type": "multiply", "schedules": [] }), "schedules is empty"),
    ] {
        let Err(error) = read(&options, Unit::Steps) else { panic!("{options} was taken") };
        let error = error.to_string();
        assert!(error.contains(text), "{error}");
    }
    for name in schedule::NAMES {
        let error = read(&json!({ "type": name }), Unit::Steps).err();
        assert!(error.is_some_and(|e| e.to_string().contains("needs")), "{name}");
    }
}
