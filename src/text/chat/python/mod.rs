//! Python features that chat templates use: printing of values, `json.dumps`, methods of strings and
//! dictionaries, and `strftime`.

mod json_dumps;
mod methods;
mod repr;
mod strftime;
mod strings;

pub(super) use json_dumps::tojson;
pub(super) use methods::call_method;
pub(super) use repr::{is_text, to_str};
pub(super) use strftime::strftime;
