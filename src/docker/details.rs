//! What the list of containers does not tell: whether one ran out of memory, and what an image's
//! own check complains about. Asked for once each time a container gets into such a state.

use std::collections::BTreeMap;

use crate::docker::wire::Inspected;
use crate::model::replica::{Container, ContainerId, Exit, OwnHealth};

/// Of the containers that ended or are ill by their own check.
#[derive(Default)]
pub(crate) struct Details {
    known: BTreeMap<ContainerId, Detail>,
}

#[derive(Clone)]
enum Detail {
    Exit(Exit),
    Complaint(String),
}

impl Details {
    /// Containers whose inspection fails stay as they are, and are asked again.
    pub(crate) fn add(
        &mut self,
        containers: &mut [Container],
        inspect: &dyn Fn(&ContainerId) -> Option<Inspected>,
    ) {
        let mut before = std::mem::take(&mut self.known);
        for container in containers {
            let is_ended = container.exit.is_some();
            if !is_ended && !matches!(container.own_health, Some(OwnHealth::Unhealthy(_))) {
                continue;
            }
            let known = before.remove(&container.id);
            let known = known.filter(|detail| matches!(detail, Detail::Exit(_)) == is_ended);
            let ask = || match (inspect(&container.id)?, is_ended) {
                (inspected, true) => Some(Detail::Exit(inspected.exit())),
                (inspected, false) => Some(Detail::Complaint(inspected.complaint())),
            };
            let Some(detail) = known.or_else(ask) else { continue };
            match detail.clone() {
                Detail::Exit(exit) => container.exit = Some(exit),
                Detail::Complaint(text) => container.own_health = Some(OwnHealth::Unhealthy(text)),
            }
            self.known.insert(container.id.clone(), detail);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use crate::docker::details::Details;
    use crate::docker::wire::Inspected;
    use crate::model::replica::{Container, ContainerId, ContainerState, Exit, OwnHealth};

    #[test]
    fn each_death_and_each_illness_is_asked_about_once() {
        let asked = Cell::new(0);
        let inspect = |id: &ContainerId| {
            asked.set(asked.get() + 1);
            let text = r#"{"Id":"a","State":{"ExitCode":137,"OOMKilled":true,
                "Health":{"Log":[{"ExitCode":1,"Output":"no"}]}}}"#;
            (id.0 == "a").then(|| serde_json::from_str::<Inspected>(text).unwrap())
        };
        let mut details = Details::default();
        let mut look = |id: &str, exit, own_health| {
            let mut list = [Container {
                id: ContainerId(id.to_owned()),
                service: "web".to_owned(),
                number: 1,
                spec: None,
                port: None,
                state: ContainerState::Running,
                exit,
                own_health,
                address: None,
            }];
            details.add(&mut list, &inspect);
            let [container] = list;
            (container.exit, container.own_health, asked.take())
        };
        let exit = |oom| Some(Exit { code: 137, oom });
        let ill = |text: &str| Some(OwnHealth::Unhealthy(text.to_owned()));
        let healthy = || Some(OwnHealth::Healthy);
        assert_eq!(look("a", exit(false), None), (exit(true), None, 1));
        assert_eq!(look("a", exit(false), None), (exit(true), None, 0));
        // It was started again.
        assert_eq!(look("a", None, healthy()), (None, healthy(), 0));
        assert_eq!(look("a", None, ill("")), (None, ill("exit code 1: no"), 1));
        assert_eq!(look("a", None, ill("")), (None, ill("exit code 1: no"), 0));
        assert_eq!(look("a", exit(false), None), (exit(true), None, 1));
        // One that cannot be asked is asked again.
        assert_eq!(look("b", exit(false), None), (exit(false), None, 1));
        assert_eq!(look("b", exit(false), None), (exit(false), None, 1));
    }
}
