//! How far the load of now is off the profile, and what remains of that in the next minutes.

/// A deviation counts half after so many minutes more: on the way from the past to now, and from
/// now to the minutes ahead.
const HALF_BEFORE: f64 = 5.0;
const HALF_AHEAD: f64 = 15.0;
/// Where the load is as low as this share of what is to come, it says nothing of that: three
/// requests instead of one at night do not triple the morning.
const TELLING_SHARE: f64 = 0.2;
/// So far down it goes with a load that is lower than in any week before, and so far up.
pub(crate) const DOWN_MAX: f64 = 0.05;
pub(crate) const UP_MAX: f64 = 2.0;

/// The load and the profile, both summed with less weight the longer ago they were.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DecayedSums {
    load: f64,
    profile: f64,
    weight: f64,
}

impl DecayedSums {
    /// One minute more. `keep` is what is left of the others then.
    pub(crate) fn add(&mut self, keep: f64, load: f64, profile: f64) {
        self.load = self.load * keep + load;
        self.profile = self.profile * keep + profile;
        self.weight = self.weight * keep + 1.0;
    }

    /// What to multiply the profile by, for a load of `coming` by the profile.
    pub(crate) fn ratio(&self, coming: f64) -> f64 {
        if self.profile <= 0.0 || coming <= 0.0 {
            return 1.0;
        }
        let ratio = (self.load / self.profile).clamp(DOWN_MAX, UP_MAX);
        let trust = self.profile / self.weight / (TELLING_SHARE * coming);
        1.0 + (ratio - 1.0) * trust.min(1.0)
    }
}

/// What a weight is multiplied by each minute to be halved after `minutes`.
pub(crate) fn keep(minutes: f64) -> f64 {
    0.5_f64.powf(1.0 / minutes)
}

/// By the last minutes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Correction {
    sums: DecayedSums,
}

impl Correction {
    /// By minutes of load and profile, oldest first.
    pub(crate) fn until(minutes: impl Iterator<Item = (Option<f64>, f64)>) -> Correction {
        let mut correction = Correction::default();
        minutes.for_each(|(load, profile)| correction.add(load, profile));
        correction
    }

    /// One minute more.
    pub(crate) fn add(&mut self, load: Option<f64>, profile: f64) {
        if let Some(load) = load {
            self.sums.add(keep(HALF_BEFORE), load, profile);
        }
    }

    /// The profile ahead with what remains of the deviation, from the next minute on.
    pub(crate) fn path(&self, ahead: &[f64]) -> Vec<f64> {
        let fade = keep(HALF_AHEAD);
        let mut left = 1.0;
        let corrected = |profile: &f64| {
            let value = profile * (1.0 + (self.sums.ratio(*profile) - 1.0) * left);
            left *= fade;
            value
        };
        ahead.iter().map(corrected).collect()
    }
}
