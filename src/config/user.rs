//! Who a server is to be, once it needs no privileges any more.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

use super::ConfigError;

/// A user and perhaps a group, by name or by number: `www-data`, `65534`, `1000:1000`.
///
/// Whether there is such a user is the server's to find out.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct User {
    user: String,
    group: Option<String>,
}

impl User {
    /// The name or number before the colon.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The name or number behind the colon; without one it is the user's own group.
    pub fn group(&self) -> Option<&str> {
        self.group.as_deref()
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.user)?;
        match &self.group {
            Some(group) => write!(f, ":{group}"),
            None => Ok(()),
        }
    }
}

impl FromStr for User {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (text, None),
        };
        let is_word = |word: &str| {
            let is_odd = |c: char| c == ':' || c == '/' || c.is_whitespace() || c.is_control();
            !word.is_empty() && !word.starts_with(['-', '.']) && !word.contains(is_odd)
        };
        if !is_word(user) || !group.is_none_or(is_word) {
            return Err(ConfigError::User(text.to_owned()));
        }
        Ok(Self {
            user: user.to_owned(),
            group: group.map(str::to_owned),
        })
    }
}

impl TryFrom<String> for User {
    type Error = ConfigError;

    fn try_from(text: String) -> Result<Self, ConfigError> {
        text.parse()
    }
}

/// What becomes of the privileges of a server that is set up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Privileges {
    /// They stay: for a program that needs them for something else.
    #[default]
    Keep,
    /// No capability is left, and none can be got again; root becomes this user, or `nobody`.
    Drop(Option<User>),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_names_or_numbers() {
        for (text, user, group) in [
            ("nobody", "nobody", None),
            ("65534", "65534", None),
            ("1000:100", "1000", Some("100")),
            ("www-data:adm", "www-data", Some("adm")),
        ] {
            let parsed: User = text.parse().unwrap();
            assert_eq!((parsed.user(), parsed.group()), (user, group));
            assert_eq!(parsed.to_string(), text);
        }
        for text in ["", ":", "a:", ":b", "a:b:c", "a b", "../x", "-1", "a\n"] {
            let message = text.parse::<User>().unwrap_err().to_string();
            assert!(message.contains("is no user"), "{message}");
        }
    }
}
