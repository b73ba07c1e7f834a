//! Flags whose values are names.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

/// Name, help and meaning of a value of a flag.
pub type Choice<T> = (&'static str, &'static str, T);

/// Returns the parser of one of the names.
pub fn one_of<T>(choices: &'static [Choice<T>]) -> impl TypedValueParser<Value = T>
where
    T: Clone + Send + Sync + 'static,
{
    let values = choices.iter().map(|(name, help, _)| match *help {
        "" => PossibleValue::new(*name),
        help => PossibleValue::new(*name).help(help),
    });
    PossibleValuesParser::new(values).map(|given| {
        let mut choices = choices.iter();
        let named = choices.find(|(name, ..)| name.eq_ignore_ascii_case(&given));
        named.expect("the parser knows the names").2.clone()
    })
}
