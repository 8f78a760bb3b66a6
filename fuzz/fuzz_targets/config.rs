//! The configuration file: any text is settings or an error that names its line.
#![no_main]

use std::path::Path;

use corelane::config::{Config, ConfigError, Settings};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match Settings::parse(Path::new("corelane.toml"), text) {
        Ok(settings) => {
            if let Err(error) = Config::try_from(settings) {
                assert!(!error.to_string().is_empty());
            }
        }
        Err(error) => {
            let ConfigError::Nonsense {
                line,
                text: shown,
                message,
                ..
            } = &error
            else {
                panic!("{error}");
            };
            let lines = text.lines().count();
            assert!((1..=lines + 1).contains(line), "line {line} of {lines}");
            assert!(text.contains(shown.as_str()), "{shown:?}");
            assert!(
                !message.is_empty() && !message.contains('\n'),
                "{message:?}"
            );
        }
    }
});
