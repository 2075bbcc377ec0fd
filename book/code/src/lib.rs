//! The code of the guide. Every chapter is a module here, so that its code blocks are compiled and
//! run by `cargo test -p refrain-book`; [`starter`] and [`solution`] belong to the exercise.

#![forbid(unsafe_code)]

pub mod reference;
pub mod setup;
pub mod solution;
pub mod starter;

/// One module a chapter.
macro_rules! chapters {
    ($($module:ident: $file:literal,)*) => {
        $(
            #[doc = include_str!(concat!("../../src/", $file))]
            #[cfg(doctest)]
            pub mod $module {}
        )*
    };
}

chapters! {
    introduction: "introduction.md",
    getting_started: "getting-started.md",
    burn_module: "burn-module.md",
    callbacks: "callbacks.md",
    data: "data.md",
    included_callbacks: "included-callbacks.md",
    writing_callbacks: "writing-callbacks.md",
    learning_rate: "learning-rate.md",
    checking: "checking.md",
    devices: "devices.md",
    custom_loop: "custom-loop.md",
    recipes: "recipes.md",
    evaluate: "evaluate.md",
    learning: "learning.md",
    resuming: "resuming.md",
    from_keras: "from-keras.md",
    exercise: "exercise.md",
}
