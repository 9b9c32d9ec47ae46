//! The owner of a container, by its labels, name and id.
//!
//! Labels alone prove little: a container inherits those of its image, and `docker commit` copies
//! those of a container into an image. So a label counts only if the image does not have the same,
//! and the container must have the name that its maker gives, or a known id.

use std::collections::BTreeMap;

use crate::docker::compose_clone::{
    LABEL_HASH, LABEL_NUMBER, LABEL_OF, LABEL_ONE_OFF, LABEL_PROJECT, number_of,
};
use crate::docker::labels::{LABEL_REPLICA, LABEL_SERVICE};
use crate::model::owner::Owner;
use crate::model::replica::NUMBER_MAX;
use crate::model::service::{Adopted, replica_name};

pub(crate) type LabelMap = BTreeMap<String, String>;

pub(crate) const OURS: &str = "io.plimsoll.";
pub(crate) const COMPOSES: &str = "com.docker.compose.";

/// What a container is, by its labels, name and id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Identity {
    Replica {
        service: String,
        number: u32,
        owner: Owner,
    },
    Stranger {
        service: String,
        why: String,
        /// Its labels come from its image, so plimsoll did not create it.
        is_copy: bool,
    },
    /// The labels of its image are not known yet.
    Pending {
        service: String,
    },
    /// Its labels name no service.
    Unrelated,
}

/// The labels of a container's image, as far as they are known.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ImageLabels<'a> {
    Are(&'a LabelMap),
    /// Not answered yet.
    Pending,
    /// The image was removed, or the engine does not answer.
    Unknown,
}

pub(crate) struct Facts<'a> {
    pub(crate) labels: &'a LabelMap,
    /// Without the slash in front.
    pub(crate) name: &'a str,
    pub(crate) image: ImageLabels<'a>,
    /// It was a replica before: its name does not matter.
    pub(crate) is_known: bool,
}

/// The service that the labels name, and whether by compose's labels.
fn claimed<'a>(facts: &Facts<'a>, adopted: &'a [Adopted]) -> Option<(&'a str, bool)> {
    let label = |key: &str| facts.labels.get(key).map(String::as_str);
    if let Some(service) = label(LABEL_SERVICE)
        && is_made_as_ours(facts, service)
    {
        return Some((service, false));
    }
    let composed = label(LABEL_PROJECT)
        .zip(label(LABEL_OF))
        .filter(|_| label(LABEL_HASH).is_some() && label(LABEL_ONE_OFF) != Some("True"));
    let of = composed
        .and_then(|(project, of)| adopted.iter().find(|a| a.project == project && a.of == of));
    match (of, label(LABEL_SERVICE)) {
        (Some(of), _) => Some((of.service.as_str(), true)),
        (None, Some(service)) => Some((service, composed.is_some())),
        (None, None) => None,
    }
}

/// Whether the container is ours although it has compose's labels: they come from its image, which
/// somebody committed from a compose container. While the image's labels are unknown, the name
/// decides.
fn is_made_as_ours(facts: &Facts, service: &str) -> bool {
    let Some(number) = facts.labels.get(LABEL_REPLICA).and_then(|n| number_of(n)) else {
        return false;
    };
    let is_called = |name: &String| name == facts.name;
    let of_compose = facts.labels.get(LABEL_NUMBER).and_then(|n| number_of(n)).unwrap_or(0);
    let by_image = matches!(facts.image, ImageLabels::Are(image)
        if is_inherited(facts.labels, image, COMPOSES) && !is_inherited(facts.labels, image, OURS));
    let by_name = is_called(&replica_name(service, number))
        && !names_for(facts.labels, service, of_compose, true).iter().any(is_called);
    by_image || by_name
}

pub(crate) fn identify(facts: &Facts, adopted: &[Adopted]) -> Identity {
    let Some((service, is_composed)) = claimed(facts, adopted) else {
        return Identity::Unrelated;
    };
    let service = service.to_owned();
    let stranger =
        |why: String| Identity::Stranger { service: service.clone(), why, is_copy: false };
    let prefix = if is_composed { COMPOSES } else { OURS };
    if !facts.is_known {
        match facts.image {
            ImageLabels::Pending => return Identity::Pending { service },
            ImageLabels::Are(image) if is_inherited(facts.labels, image, prefix) => {
                let why =
                    format!("its {prefix}* labels come from its image, as after `docker commit`");
                return Identity::Stranger { service, why, is_copy: true };
            }
            ImageLabels::Are(_) | ImageLabels::Unknown => (),
        }
    }
    let key = if is_composed { LABEL_NUMBER } else { LABEL_REPLICA };
    let Some(text) = facts.labels.get(key) else {
        return stranger(format!("it has no label {key}"));
    };
    let Some(number) = number_of(text) else {
        let text: String = text.chars().take(40).collect();
        return stranger(format!("its label {key}={text:?} is not a number up to {NUMBER_MAX}"));
    };
    let names = names_for(facts.labels, &service, number, is_composed);
    if !facts.is_known && !names.iter().any(|name| name == facts.name) {
        let wanted = names.first().map_or("", String::as_str);
        return stranger(format!("its labels require the name {wanted}"));
    }
    let of_replica = facts.labels.get(LABEL_REPLICA).and_then(|n| number_of(n));
    // A label from the compose file has the same value in each container, so the number must match.
    let is_like_clone = facts.labels.contains_key(LABEL_SERVICE) && of_replica == Some(number);
    let owner = match (is_composed, facts.image) {
        (false, _) => Owner::Ours,
        (true, _) if !is_like_clone => Owner::Compose,
        // A clone's volumes are deleted with it, so a known id alone is not enough.
        (true, ImageLabels::Pending) => return Identity::Pending { service },
        (true, ImageLabels::Are(image)) if is_inherited(facts.labels, image, OURS) => {
            Owner::Compose
        }
        (true, ImageLabels::Are(_) | ImageLabels::Unknown) => Owner::Clone,
    };
    Identity::Replica { service, number, owner }
}

/// Whether the image has every label with this prefix that the container has.
fn is_inherited(labels: &LabelMap, image: &LabelMap, prefix: &str) -> bool {
    labels
        .iter()
        .filter(|(key, _)| key.starts_with(prefix))
        .all(|label| image.get(label.0) == Some(label.1))
}

/// The names that the maker gives a container with these labels; compose version 1 had underscores.
fn names_for(labels: &LabelMap, service: &str, number: u32, is_composed: bool) -> Vec<String> {
    match (labels.get(LABEL_PROJECT), labels.get(LABEL_OF)) {
        (Some(project), Some(of)) if is_composed => {
            vec![format!("{project}-{of}-{number}"), format!("{project}_{of}_{number}")]
        }
        (_, _) => vec![replica_name(service, number)],
    }
}

#[cfg(test)]
mod tests {
    use crate::docker::owner::{Facts, Identity, ImageLabels, LabelMap, identify};
    use crate::model::service::{Adopted, ServiceName};

    const OURS: &str = "io.plimsoll.service=web io.plimsoll.replica=3";
    const SHOP: &str = "com.docker.compose.project=shop com.docker.compose.service=web \
        com.docker.compose.config-hash=5a com.docker.compose.oneoff=False \
        com.docker.compose.container-number=3";

    fn labels(text: &str) -> LabelMap {
        let pair = |word: &str| word.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned()));
        text.split_whitespace().map(|word| pair(word).expect("key=value")).collect()
    }

    /// `-` in place of the image's labels: they are not known yet; `?`: nobody knows them.
    #[track_caller]
    fn check(name: &str, own: &str, image: &str, is_known: bool, want: &str) {
        let own = labels(own);
        let from_image = labels(image.trim_matches(['-', '?']));
        let image = match image {
            "-" => ImageLabels::Pending,
            "?" => ImageLabels::Unknown,
            _ => ImageLabels::Are(&from_image),
        };
        let adopted = Adopted {
            service: ServiceName::new("front").unwrap(),
            project: "shop".to_owned(),
            of: "web".to_owned(),
        };
        let got = match identify(&Facts { labels: &own, name, image, is_known }, &[adopted]) {
            Identity::Replica { service, number, owner } => format!("{owner:?} {service}-{number}"),
            Identity::Stranger { service, why, .. } => format!("stranger to {service}: {why}"),
            Identity::Pending { service } => format!("pending {service}"),
            Identity::Unrelated => "unrelated".to_owned(),
        };
        assert!(got.starts_with(want), "{name} {own:?}: {got:?} does not begin with {want:?}");
    }

    #[test]
    fn ours_is_what_has_our_labels_of_its_own_and_our_name_or_an_id_that_we_know() {
        check("web-3", OURS, "", false, "Ours web-3");
        check("web-3", OURS, "?", false, "Ours web-3");
        check("web-3", OURS, "-", false, "pending web");
        check("web-old", OURS, "", true, "Ours web-3");
        check("web-old", OURS, "-", true, "Ours web-3");
        check("web-old", OURS, "", false, "stranger to web: its labels require the name web-3");
        check("web-3", OURS, OURS, false, "stranger to web: its io.plimsoll.* labels come from");
        check("web-3", OURS, OURS, true, "Ours web-3");
        // The image was committed from another replica, and is what the service is made from now.
        let image = "io.plimsoll.service=web io.plimsoll.replica=1";
        check("web-3", OURS, image, false, "Ours web-3");
        check("web-3", "io.plimsoll.service=web", "", false, "stranger to web: it has no label");
        check("web-3", "io.plimsoll.replica=3", "", false, "unrelated");
        check("web-3", "", "", true, "unrelated");
    }

    #[test]
    fn a_number_that_could_not_be_read_back_makes_a_stranger() {
        for (number, want) in [
            ("1000000000", "Ours web-1000000000"),
            ("1000000001", "stranger to web: its label io.plimsoll.replica=\"1000000001\" is not"),
            ("4294967296", "stranger to web: "),
            ("-1", "stranger to web: "),
            ("x", "stranger to web: "),
        ] {
            let own = format!("io.plimsoll.service=web io.plimsoll.replica={number}");
            check(&format!("web-{number}"), &own, "", false, want);
        }
    }

    #[test]
    fn composes_is_what_has_composes_labels_of_its_own_and_composes_name() {
        check("shop-web-3", SHOP, "", false, "Compose front-3");
        check("shop_web_3", SHOP, "", false, "Compose front-3");
        check("shop-web-3", SHOP, "-", false, "pending front");
        check("old", SHOP, "", true, "Compose front-3");
        check(
            "front-3",
            SHOP,
            "",
            false,
            "stranger to front: its labels require the name shop-web-3",
        );
        check(
            "0a1b2c_shop-web-3",
            SHOP,
            "",
            false,
            "stranger to front: its labels require the name",
        );
        check("shop-web-3", SHOP, SHOP, false, "stranger to front: its com.docker.compose.*");
        // Compose made it from an image that was committed from one of its own.
        let image = format!("{SHOP} com.docker.compose.image=sha256:1");
        let own = format!("{SHOP} com.docker.compose.image=sha256:2");
        check("shop-web-3", &own, &image, false, "Compose front-3");
        let other = SHOP.replace("project=shop", "project=stage");
        check("stage-web-3", &other, "", false, "unrelated");
        let one_off = SHOP.replace("oneoff=False", "oneoff=True");
        check("shop-web-3", &one_off, "", false, "unrelated");
    }

    /// As where the image was committed from a container of compose's.
    #[test]
    fn labels_of_composes_that_an_image_brings_make_no_replica_of_ours_composes() {
        let theirs = SHOP.replace("number=3", "number=1000000000");
        let of_stage = theirs.replace("project=shop", "project=stage");
        for image in [SHOP, &theirs, &of_stage] {
            let own = format!("{image} {OURS}");
            check("web-3", &own, image, false, "Ours web-3");
            check("web-3", &own, "?", false, "Ours web-3");
            check("web-3", &own, "-", false, "pending web");
            check("web-3", &own, image, true, "Ours web-3");
            check("web-3", &own, "-", true, "Ours web-3");
        }
    }

    /// As where the image was committed from a clone.
    #[test]
    fn labels_of_ours_that_an_image_brings_make_no_container_of_composes_a_clone() {
        let image = OURS.replace("service=web", "service=front");
        let own = format!("{SHOP} {image}");
        check("shop-web-3", &own, &image, false, "Compose front-3");
        check("shop-web-3", &own, &image, true, "Compose front-3");
        check("shop-web-3", &own, "-", true, "pending front");
        check("shop-web-3", &own, "?", true, "Clone front-3");
    }

    #[test]
    fn a_clone_has_the_labels_of_both() {
        let clone = format!("{SHOP} {}", OURS.replace("service=web", "service=front"));
        check("shop-web-3", &clone, "", false, "Clone front-3");
        check("shop-web-3", &clone, &clone, false, "stranger to front");
        // Of a service that the config does not have any more.
        let gone = clone.replace("project=shop", "project=stage").replace("front", "gone");
        check("stage-web-3", &gone, "", false, "Clone gone-3");
        // The compose file gives every container of the service these labels.
        let own = format!("{SHOP} io.plimsoll.service=front");
        check("shop-web-3", &own, "", false, "Compose front-3");
        let own = format!("{SHOP} io.plimsoll.service=front io.plimsoll.replica=1");
        check("shop-web-3", &own, "", false, "Compose front-3");
    }
}
