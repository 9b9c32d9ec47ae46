//! A text that nobody is shown.

use std::fmt;

/// Printed, it is `***`. Code that needs the text calls a method that can be searched for.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Secret(String);

impl Secret {
    pub(crate) fn new(text: String) -> Secret {
        Secret(text)
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use crate::model::secret::Secret;

    #[test]
    fn it_is_not_printed() {
        assert_eq!(format!("{:?}", Some(Secret::new("s3cret".to_owned()))), "Some(***)");
    }
}
