/// An excerpt of Shakespeare's plays, in the public domain: 1.2 million characters.
pub const SHAKESPEARE: &str = include_str!("shakespeare.txt");
