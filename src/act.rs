//! Maps each action to one call outside. Decides nothing: a failure is returned, and the next tick
//! decides anew.

use crate::model::action::{Action, ActionOutput};
use crate::outside::{Engine, Proxy, Result};

pub(crate) fn execute(
    action: &Action,
    engine: &dyn Engine,
    proxy: &dyn Proxy,
) -> Result<ActionOutput> {
    match action {
        Action::Start { service, number, most } => {
            return engine.start(service, *number, *most).map(ActionOutput::Started);
        }
        Action::Remove(removal) => return engine.remove(removal),
        Action::RunHook(run) => return engine.run_hook(run),
        Action::Resize { swarm_service, from, to, .. } => {
            return engine.resize(swarm_service, *from, *to);
        }
        Action::Reload { routes } => return proxy.reload(routes),
        Action::UpdateServers { routes } => return proxy.update_servers(routes),
        Action::SetServerStates { servers } => proxy.set_server_states(servers)?,
        Action::EndProxies { processes } => proxy.kill(processes)?,
    }
    Ok(ActionOutput::Changed)
}
