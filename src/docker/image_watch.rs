//! Asks a registry through Docker which digest is behind a tag, and looks images up on this host.

use std::time::Duration;

use serde::Deserialize;

use crate::docker::client::Call;
use crate::docker::docker_config::Registry;
use crate::docker::engine_calls::Method;
use crate::docker::{self, Docker};
use crate::model::image::{self, ImageAnswer, ImageRequest, ImageStep};
use crate::outside::{Error, Result};

/// A registry that has not answered for so long gives no answer.
const REGISTRY_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DistributionAnswer {
    descriptor: Descriptor,
}

#[derive(Deserialize)]
struct Descriptor {
    digest: String,
}

/// An image of this host.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HostImage {
    id: String,
    #[serde(default)]
    repo_digests: Option<Vec<String>>,
}

impl HostImage {
    /// Those of this repository: another one may have a manifest that this one lacks.
    fn digests(&self, repository: &str) -> Vec<String> {
        let pairs = self.repo_digests.iter().flatten().filter_map(|name| name.split_once('@'));
        let asked = Registry::of(repository);
        let own = pairs.filter(|(name, _)| Registry::of(name).is_same(&asked));
        own.map(|(_, digest)| digest.to_owned()).collect()
    }
}

impl Docker {
    /// Carries out one step. `None`: there is nothing to tell.
    pub(crate) fn watch_image(&self, request: &ImageRequest) -> Result<Option<ImageAnswer>> {
        let image = request.image.as_str();
        match &request.step {
            ImageStep::Ask(ids) => self.ask_registry(image, ids).map(Some),
            ImageStep::Pull(answer) => {
                let reference = by_digest(image, &answer.digest);
                self.pull(&reference, &|_| (), &|| true)?;
                let found = self.inspect_image::<HostImage>(&reference)?.map(|found| found.id);
                let id = found.ok_or_else(|| {
                    Error::new(format!("image {reference} was pulled, but is not on this host"))
                })?;
                Ok(Some(ImageAnswer { id: Some(id), ..answer.clone() }))
            }
            ImageStep::Tag(digest) => self.tag(image, digest).map(|()| None),
        }
    }

    fn ask_registry(&self, image: &str, ids: &[String]) -> Result<ImageAnswer> {
        let path = format!("/distribution/{}/json", docker::image_in_path(image));
        let auth = self.registry_auth(image);
        let call = Call { registry_auth: auth.header.as_ref(), ..Call::get(&path) };
        let answer = self.client.call(call, REGISTRY_TIMEOUT)?;
        let distribution = match answer.status {
            200 => answer.json::<DistributionAnswer>()?,
            _ => {
                let message = answer.message();
                let is_absent = message.contains("manifest unknown");
                let hint = if is_absent {
                    "; push it, correct `image`, or remove image_updates"
                } else {
                    ""
                };
                let why = auth.explain(&message);
                return Err(Error::new(format!(
                    "the registry gives no digest of {image}: {why}{hint}"
                )));
            }
        };
        let digest = distribution.descriptor.digest;
        let repository = image::repository(image);
        let id = self.inspect_image::<HostImage>(&by_digest(image, &digest))?.map(|found| found.id);
        let mut seen = ImageAnswer { digest, id, ..ImageAnswer::default() };
        if let Some(tagged) = self.inspect_image::<HostImage>(image)? {
            seen.digests.insert(tagged.id.clone(), tagged.digests(repository));
            seen.tagged = Some(tagged.id);
        }
        for id in ids {
            if let Some(found) = self.inspect_image::<HostImage>(id)? {
                seen.digests.insert(id.clone(), found.digests(repository));
            }
        }
        let is_built = |(id, digests): (&String, &Vec<String>)| {
            digests.is_empty() && seen.id.as_ref() != Some(id)
        };
        match seen.digests.iter().any(is_built) {
            false => Ok(seen),
            true => Err(Error::new(format!(
                "image {image} on this host came from no registry, so there is no digest to \
                 compare; push it and pull it again, or remove image_updates"
            ))),
        }
    }

    fn tag(&self, image: &str, digest: &str) -> Result<()> {
        let path = format!("/images/{}/tag", docker::image_in_path(&by_digest(image, digest)));
        let query = [("repo", image::repository(image)), ("tag", image::tag(image))];
        let call = Call { method: Method::Post, query: &query, ..Call::get(&path) };
        self.client.call(call, self.look_timeout())?.ok().map(drop)
    }
}

fn by_digest(image: &str, digest: &str) -> String {
    format!("{}@{digest}", image::repository(image))
}

#[cfg(test)]
mod tests {
    use crate::docker::image_watch::HostImage;

    #[test]
    fn only_digests_of_the_same_repository_count() {
        let names = ["web@sha256:1", "me/web@sha256:2", "a.example:5000/web@sha256:3"];
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let image = HostImage { id: "i".to_owned(), repo_digests: Some(names) };
        for (repository, want) in [
            ("web", vec!["sha256:1"]),
            ("docker.io/library/web", vec!["sha256:1"]),
            ("library/web", vec!["sha256:1"]),
            ("docker.io/me/web", vec!["sha256:2"]),
            ("a.example:5000/web", vec!["sha256:3"]),
            ("a.example:5000/library/web", vec![]),
            ("a.example/web", vec![]),
            ("other", vec![]),
        ] {
            assert_eq!(image.digests(repository), want, "{repository}");
        }
    }
}
