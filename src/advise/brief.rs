//! The advice on many services, each in one line, as it stands in a report.

use std::collections::BTreeMap;

use crate::advise::advice::{AdviceInput, NoAdvice, advise};
use crate::advise::effort::Effort;
use crate::advise::screen::one_line;
use crate::model::config::Config;
use crate::model::load_history::MinuteRow;
use crate::model::service::Service;
use crate::model::zone::Zone;
use crate::sim::replay::START_UP;

/// Percent of the time that the load is to be within target, unless somebody says otherwise.
pub(crate) const SLO: f64 = 99.5;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BriefAdvice {
    /// Other settings than today's.
    Change(String),
    /// Today's settings, and why.
    Keep(String),
    /// What is missing for an advice.
    Missing(String),
    /// There was no time for it.
    NotSearched,
}

/// Of services of the config, one after the other, as long as the effort goes on; none of others.
pub(crate) fn of_each<'a>(
    names: impl Iterator<Item = &'a str>,
    config: &Config,
    effort: Effort,
    zone: impl Fn(&Service) -> Zone,
    mut rows: impl FnMut(&str) -> Vec<MinuteRow>,
) -> BTreeMap<String, BriefAdvice> {
    let advice = |name: &'a str| {
        let service = config.service(name)?;
        if !effort.goes_on() {
            return Some((name.to_owned(), BriefAdvice::NotSearched));
        }
        let input = AdviceInput {
            config,
            service,
            rows: &rows(name),
            slo: SLO,
            start_up: START_UP,
            zone: &zone(service),
            effort,
        };
        Some((name.to_owned(), BriefAdvice::of(&input)))
    };
    names.filter_map(advice).collect()
}

impl BriefAdvice {
    fn of(input: &AdviceInput) -> BriefAdvice {
        match advise(input) {
            Ok(advice) if advice.verdict.is_change() => BriefAdvice::Change(one_line(&advice)),
            Ok(advice) => BriefAdvice::Keep(one_line(&advice)),
            Err(NoAdvice::Missing(why)) => BriefAdvice::Missing(why),
            Err(NoAdvice::BrokenOff) => BriefAdvice::NotSearched,
        }
    }

    /// `None`: nobody knows.
    pub(crate) fn is_change(&self) -> Option<bool> {
        match self {
            BriefAdvice::Change(_) => Some(true),
            BriefAdvice::Keep(_) => Some(false),
            BriefAdvice::Missing(_) | BriefAdvice::NotSearched => None,
        }
    }

    pub(crate) fn text(&self) -> String {
        match self {
            BriefAdvice::Change(text) | BriefAdvice::Keep(text) => text.clone(),
            BriefAdvice::Missing(why) => format!("none: {why}"),
            BriefAdvice::NotSearched => "not searched: the time for it was used up".to_owned(),
        }
    }

    /// With the command that has more of it.
    pub(crate) fn line(&self, command: &str) -> String {
        match self {
            BriefAdvice::Missing(_) => self.text(),
            _ => format!("{} ({command})", self.text()),
        }
    }

    /// In a sentence about its service; what is missing is no news there.
    pub(crate) fn clause(&self, command: &str) -> Option<String> {
        match self {
            BriefAdvice::Change(text) => Some(format!("advice: {text}")),
            BriefAdvice::NotSearched => Some(format!("advice not searched: {command}")),
            BriefAdvice::Keep(_) => Some("advice: keep what you have".to_owned()),
            BriefAdvice::Missing(_) => None,
        }
    }
}
