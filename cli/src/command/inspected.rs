//! What `inspect` commands have in common: ask for each object, show all that are there, fail for the others.

use bytes::Bytes;
use serde_json::Value;

use crate::exit::join_errors;
use crate::output::inspect::{self, Format};
use crate::output::print;

pub struct Inspected {
    /// As the daemon sent them.
    pub bodies: Vec<Bytes>,
    errors: Vec<anyhow::Error>,
}

impl Inspected {
    pub async fn ask(references: &[String], ask: impl AsyncFn(&str) -> anyhow::Result<Bytes>) -> Self {
        let (mut bodies, mut errors) = (Vec::new(), Vec::new());
        for reference in references {
            match ask(reference).await {
                Ok(body) => bodies.push(body),
                Err(error) => errors.push(error),
            }
        }
        Self { bodies, errors }
    }

    /// Shows what was found in this format; a template may name what `fill` adds.
    pub fn show(
        self,
        format: Option<&Format>,
        fill: impl Fn(&mut Value) -> Result<(), serde_json::Error>,
    ) -> anyhow::Result<()> {
        match format {
            None => print(&inspect::array(&self.bodies)?)?,
            Some(Format::Json) => print(&inspect::compact_array(&self.bodies))?,
            Some(format) => {
                for body in &self.bodies {
                    let mut object = serde_json::from_slice(body)?;
                    fill(&mut object)?;
                    print(&inspect::show(format, &object)?)?;
                }
            }
        }
        self.end()
    }

    /// What could not be found, when all else has been shown.
    pub fn end(self) -> anyhow::Result<()> {
        join_errors(self.errors)
    }
}
