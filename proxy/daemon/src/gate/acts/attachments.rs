//! Attaches control groups to a service, and lets them go.

use std::sync::Arc;

use audit::{Kind, Who};

use super::ActError;
use crate::attached::{Attachments, Target};
use crate::gate::Gate;
use crate::gate::protocol::Answer;
use crate::record::Service;

/// In the kernel, then in the ledger; taken back where the ledger does not take it.
pub(super) async fn attach(gate: &Gate, target: Target, by: String) -> Result<Answer, ActError> {
    let attachments = of(gate)?;
    if gate.service.get().is_some_and(|service| service.in_pod) {
        return Err(ActError::InPod);
    }
    let attached = off_the_traffic({
        let (attachments, now) = (Arc::clone(&attachments), gate.clock.now());
        move || attachments.attach(&target, now)
    })
    .await?;
    let (cgroup, at) = (attached.cgroup.clone(), attached.at.0);
    let entered = Service::Attached { cgroup: cgroup.clone(), at, by };
    match gate.journal.commit(Kind::Operator, Who::default(), &entered).await {
        Ok(receipt) => Ok(Answer::Attached { attachment: attached, entry: receipt.seq }),
        Err(error) => {
            let back = off_the_traffic(move || attachments.detach(&Target::Cgroup(cgroup.into())));
            back.await?;
            Err(error.into())
        }
    }
}

/// In the ledger, then in the kernel.
pub(super) async fn detach(gate: &Gate, target: Target, by: String) -> Result<Answer, ActError> {
    let attachments = of(gate)?;
    let cgroup = attachments.attached(&target)?.cgroup;
    let entered = Service::Detached { cgroup: cgroup.clone(), by };
    let receipt = gate.journal.commit(Kind::Operator, Who::default(), &entered).await?;
    let target = Target::Cgroup(cgroup.into());
    let attachment = off_the_traffic(move || attachments.detach(&target)).await?;
    Ok(Answer::Detached { attachment, entry: receipt.seq })
}

/// What is attached, and how it stands.
pub(super) fn list(gate: &Gate) -> Result<Answer, ActError> {
    Ok(Answer::Attachments { attachments: of(gate)?.list() })
}

fn of(gate: &Gate) -> Result<Arc<Attachments>, ActError> {
    let service = gate.service.get().ok_or(ActError::NoService)?;
    Ok(Arc::clone(&service.attachments))
}

/// Loading programs takes a while, and looking for a unit reads folders.
async fn off_the_traffic<T, E>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, ActError>
where
    T: Send + 'static,
    E: Into<ActError> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(Into::into),
        Err(_panicked) => Err(ActError::NoService),
    }
}
