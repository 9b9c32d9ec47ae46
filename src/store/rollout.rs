//! How far a rollout is, and what was good before it, in the state file's own shape. The recipe
//! holds the values of the environment as they are: without them there is no way back. Nobody but
//! the daemon's user may read the file.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::hooks::Hooks;
use crate::model::image::{ImageMemory, ImagePin, RejectedImage};
use crate::model::rollout::{Progress, Revision, RolloutMemory};
use crate::model::secret::Secret;
use crate::model::service::{ContainerSpec, Origin, Restart};
use crate::model::time::Moment;
use crate::store::container_options::OptionsState;

#[derive(Serialize, Deserialize)]
pub(crate) struct StoredRollout {
    restart_up_to: u32,
    good: Option<RecipeState>,
    rejected: Option<String>,
    under_way: Option<ProgressState>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    images: Option<ImagesState>,
}

/// What is remembered of a watched image.
#[derive(Serialize, Deserialize)]
struct ImagesState {
    image: String,
    pin: Option<PinState>,
    from: Option<String>,
    /// Pairs of a digest and the spec that it was tried with.
    rejected: Vec<(String, String)>,
}

#[derive(Serialize, Deserialize)]
struct PinState {
    digest: String,
    id: String,
}

fn pack_images(images: &ImageMemory) -> Option<ImagesState> {
    let pair = |one: &RejectedImage| (one.digest.clone(), one.spec.clone());
    (!images.image.is_empty()).then(|| ImagesState {
        image: images.image.clone(),
        pin: images.pin.as_ref().map(pack_pin),
        from: images.from.clone(),
        rejected: images.rejected.iter().map(pair).collect(),
    })
}

fn unpack_images(state: ImagesState) -> ImageMemory {
    let one = |(digest, spec)| RejectedImage { digest, spec };
    ImageMemory {
        image: state.image,
        pin: state.pin.map(unpack_pin),
        from: state.from,
        rejected: state.rejected.into_iter().map(one).collect(),
        wanted: None,
    }
}

fn pack_pin(pin: &ImagePin) -> PinState {
    PinState { digest: pin.digest.clone(), id: pin.id.clone() }
}

fn unpack_pin(state: PinState) -> ImagePin {
    ImagePin { digest: state.digest, id: state.id }
}

#[derive(Serialize, Deserialize)]
struct ProgressState {
    spec: String,
    began: u64,
    moved: u64,
    watched: u64,
    most_new: u32,
    fewest_old: u32,
    is_stalled: bool,
    #[serde(default)]
    is_back: bool,
}

#[derive(Serialize, Deserialize)]
struct RecipeState {
    origin: OriginState,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pin: Option<PinState>,
    command: Vec<String>,
    environment: BTreeMap<String, String>,
    volumes: Vec<String>,
    nano_cpus: Option<u64>,
    memory: Option<u64>,
    networks: Vec<String>,
    labels: BTreeMap<String, String>,
    user: Option<String>,
    restart: RestartState,
    #[serde(default, skip_serializing_if = "OptionsState::is_empty")]
    options: OptionsState,
    port: u16,
    #[serde(default)]
    hooks: HooksState,
}

#[derive(Serialize, Deserialize, Default)]
struct HooksState {
    before_stop: Vec<String>,
    after_ready: Vec<String>,
    timeout_ms: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum OriginState {
    Image(String),
    Compose { project: String, service: String },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RestartState {
    No,
    Always,
    UnlessStopped,
    OnFailure(u32),
}

impl StoredRollout {
    pub(crate) fn pack(memory: &RolloutMemory) -> StoredRollout {
        StoredRollout {
            restart_up_to: memory.restart_up_to,
            good: memory.good.as_deref().map(pack_recipe),
            rejected: memory.rejected.clone(),
            under_way: memory.under_way.as_ref().map(|progress| ProgressState {
                spec: progress.spec.clone(),
                began: progress.began.0,
                moved: progress.moved.0,
                watched: progress.watched.0,
                most_new: progress.most_new,
                fewest_old: progress.fewest_old,
                is_stalled: progress.is_stalled,
                is_back: progress.is_back,
            }),
            images: pack_images(&memory.images),
        }
    }

    /// `past` brings a moment of the future back to now.
    pub(crate) fn unpack(self, past: impl Fn(u64) -> Moment) -> RolloutMemory {
        RolloutMemory {
            restart_up_to: self.restart_up_to,
            good: self.good.map(|recipe| Arc::new(unpack_recipe(recipe))),
            rejected: self.rejected,
            under_way: self.under_way.map(|progress| Progress {
                spec: progress.spec,
                began: past(progress.began),
                moved: past(progress.moved),
                watched: past(progress.watched),
                most_new: progress.most_new,
                fewest_old: progress.fewest_old,
                is_stalled: progress.is_stalled,
                is_back: progress.is_back,
            }),
            images: self.images.map(unpack_images).unwrap_or_default(),
        }
    }
}

fn pack_recipe(recipe: &Revision) -> RecipeState {
    let container = recipe.container.clone();
    let exposed = |(name, value): (String, Secret)| (name, value.expose().to_owned());
    RecipeState {
        origin: match container.origin {
            Origin::Image(image) => OriginState::Image(image),
            Origin::Compose { project, service } => OriginState::Compose { project, service },
        },
        pin: container.pin.as_ref().map(pack_pin),
        command: container.command,
        environment: container.environment.into_iter().map(exposed).collect(),
        volumes: container.volumes,
        nano_cpus: container.nano_cpus,
        memory: container.memory,
        networks: container.networks,
        labels: container.labels,
        user: container.user,
        restart: match container.restart {
            Restart::No => RestartState::No,
            Restart::Always => RestartState::Always,
            Restart::UnlessStopped => RestartState::UnlessStopped,
            Restart::OnFailure(most) => RestartState::OnFailure(most),
        },
        options: OptionsState::pack(container.options),
        port: recipe.port,
        hooks: HooksState {
            before_stop: recipe.hooks.before_stop.clone(),
            after_ready: recipe.hooks.after_ready.clone(),
            timeout_ms: u64::try_from(recipe.hooks.timeout.as_millis()).unwrap_or(u64::MAX),
        },
    }
}

fn unpack_recipe(state: RecipeState) -> Revision {
    let hidden = |(name, value): (String, String)| (name, Secret::new(value));
    let container = ContainerSpec {
        origin: match state.origin {
            OriginState::Image(image) => Origin::Image(image),
            OriginState::Compose { project, service } => Origin::Compose { project, service },
        },
        pin: state.pin.map(unpack_pin),
        command: state.command,
        environment: state.environment.into_iter().map(hidden).collect(),
        volumes: state.volumes,
        nano_cpus: state.nano_cpus,
        memory: state.memory,
        networks: state.networks,
        labels: state.labels,
        user: state.user,
        restart: match state.restart {
            RestartState::No => Restart::No,
            RestartState::Always => Restart::Always,
            RestartState::UnlessStopped => Restart::UnlessStopped,
            RestartState::OnFailure(most) => Restart::OnFailure(most),
        },
        options: state.options.unpack(),
    };
    // A file of before there were hooks has none.
    let has_hooks = 0 < state.hooks.timeout_ms;
    let hooks = has_hooks.then_some(state.hooks).map(|hooks| Hooks {
        before_stop: hooks.before_stop,
        after_ready: hooks.after_ready,
        timeout: Duration::from_millis(hooks.timeout_ms),
    });
    Revision { container, port: state.port, hooks: hooks.unwrap_or_default() }
}
