//! What every generation has to know; carried from one to the next on the command line.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::args::{ChannelArg, DemoArgs, ScrubArg, SizeRange};

/// First argument of a process that is a generation of the demo; not for people.
pub(crate) const GENERATION: &str = "__generation";

/// What every generation has to know.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// Which generation this process is; the first is 1.
    pub(crate) generation: u32,
    /// How many there will be.
    pub(crate) generations: u32,
    pub(crate) channel: ChannelArg,
    /// With `None`, files are indexed.
    pub(crate) objects: Option<ObjectsPlan>,
    pub(crate) size_limit: Option<u64>,
    pub(crate) scrub: ScrubArg,
    pub(crate) seed: u64,
}

/// What the second mode makes.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct ObjectsPlan {
    pub(crate) count: u64,
    pub(crate) size: SizeRange,
}

impl Plan {
    /// Returns the plan of generation 1.
    pub(crate) fn of_first(args: &DemoArgs) -> Self {
        Self {
            generation: 1,
            generations: args.generations,
            channel: args.channel,
            objects: args.objects.map(|count| ObjectsPlan { count, size: args.size }),
            size_limit: args.size_limit.map(|limit| limit.0),
            scrub: args.scrub,
            seed: args.seed,
        }
    }

    /// Returns the plan of the successor, or `None` for the last generation.
    pub(crate) fn of_next(&self) -> Option<Self> {
        (self.generation < self.generations).then(|| Self { generation: self.generation + 1, ..self.clone() })
    }

    /// Returns the arguments that start this generation. Only generation 1 reads `inputs`: the others inherit what
    /// became of them.
    pub(crate) fn arguments(&self, inputs: &[PathBuf]) -> Vec<OsString> {
        let plan = serde_json::to_string(self).expect("a plan has string keys and no failing serializer");
        let mut arguments = vec![GENERATION.into(), plan.into()];
        arguments.extend(inputs.iter().map(|path| path.as_os_str().to_owned()));
        arguments
    }

    /// Reads what [`Plan::arguments`] wrote: what stands behind [`GENERATION`].
    pub(crate) fn parse(arguments: &[OsString]) -> Result<(Self, Vec<PathBuf>), String> {
        let (plan, inputs) = arguments.split_first().ok_or("no plan given")?;
        let plan = plan.to_str().ok_or("the plan is not UTF-8")?;
        let plan = serde_json::from_str(plan).map_err(|error| format!("the plan cannot be read: {error}"))?;
        Ok((plan, inputs.iter().map(OsStr::new).map(PathBuf::from).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_survives_the_command_line() {
        let plan = Plan {
            generation: 1,
            generations: 2,
            channel: ChannelArg::Exec,
            objects: Some(ObjectsPlan { count: 9, size: SizeRange { start: 16, end: 17 } }),
            size_limit: Some(1 << 30),
            scrub: ScrubArg::AtFreeze,
            seed: u64::MAX,
        };
        let arguments = plan.arguments(&["a b".into(), "--json".into()]);
        assert_eq!(arguments[0], GENERATION);
        let (read, inputs) = Plan::parse(&arguments[1..]).expect("just written");
        assert_eq!(format!("{read:?}"), format!("{plan:?}"));
        assert_eq!(inputs, [PathBuf::from("a b"), PathBuf::from("--json")]);
        assert_eq!(read.of_next().and_then(|next| next.of_next()).map(|plan| plan.generation), None);
        assert!(Plan::parse(&[]).is_err() && Plan::parse(&["{}".into()]).is_err());
    }
}
