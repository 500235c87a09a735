//! What the market is made of, put in force before anybody is served: regions, instruments, the gateway's session.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use domain::{InstrumentId, RegionTable, SessionId};
use matcher::{Command, Event, LoseSessions};

use crate::buying_power::OpenedSession;
use crate::config::Models;
use crate::gateway::errors::of_reject;
use crate::names::Names;
use crate::registry::Registry;
use crate::sequencer::{Applied, SequencerHandle};

/// The file that makes a folder an installed model.
const MANIFEST: &str = "manifest.toml";

/// Loads what is configured. Blocks: tokenizers are megabytes of JSON.
pub(super) fn load_registry(folder: &Path, models: &Models) -> Result<Registry> {
    let models = match models {
        Models::Only(models) => models.clone(),
        Models::Installed => {
            let found = installed(folder).with_context(|| format!("could not read {}", folder.display()))?;
            ensure!(
                !found.is_empty(),
                "no model is installed in {}: install one with `island-agent` or `atoll up`, or set models_dir",
                folder.display()
            );
            found
        }
    };
    Registry::load(folder, &models)
        .with_context(|| format!("could not load the models in {}", folder.display()))
}

fn installed(folder: &Path) -> std::io::Result<Vec<String>> {
    let mut models = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.path().join(MANIFEST).is_file()
            && let Ok(name) = entry.file_name().into_string()
        {
            models.push(name);
        }
    }
    models.sort();
    Ok(models)
}

/// Ends what was before, opens the gateway's session, and puts regions and instruments in force.
pub(super) async fn open(
    sequencer: &SequencerHandle,
    regions: &RegionTable,
    registry: &mut Registry,
) -> Result<(OpenedSession, Names)> {
    // Payloads are never journaled, so what was in flight cannot go on: it ends with a report to its owner.
    apply(
        sequencer,
        Command::LoseSessions(LoseSessions::All),
        "end the sessions of the run before",
    )
    .await?;
    let opened = apply(sequencer, Command::OpenSession, "open the gateway's session").await?;
    let opened = OpenedSession {
        session: SessionId::of_sequence(opened.sequence),
        at: opened.at,
    };
    let in_force = sequencer.read(|engine| engine.regions().cloned()).await?;
    if in_force.as_ref() != Some(regions) {
        apply(
            sequencer,
            Command::SetRegions(regions.clone()),
            "set the region table",
        )
        .await?;
    }
    let listed = listed(sequencer).await?;
    let unlisted = registry
        .align(listed.iter().map(|(id, instrument)| (*id, instrument)))
        .context("a model is not the one that was listed under its name")?;
    for instrument in unlisted {
        tracing::info!(model = instrument.specification.model, "listing a model");
        apply(sequencer, Command::ListInstrument(instrument), "list a model").await?;
    }
    let all = listed_names(sequencer).await?;
    let names = Names::new(all, regions.clone()).context("the journal's instruments cannot be named")?;
    Ok((opened, names))
}

async fn listed(sequencer: &SequencerHandle) -> Result<Vec<(InstrumentId, domain::Instrument)>> {
    let read = |engine: &matcher::Engine| {
        engine
            .instruments()
            .map(|(id, instrument)| (id, instrument.clone()))
            .collect()
    };
    Ok(sequencer.read(read).await?)
}

async fn listed_names(sequencer: &SequencerHandle) -> Result<Vec<(InstrumentId, String)>> {
    Ok(listed(sequencer)
        .await?
        .into_iter()
        .map(|(id, instrument)| (id, instrument.model))
        .collect())
}

async fn apply(sequencer: &SequencerHandle, command: Command, what: &str) -> Result<Applied> {
    let applied = sequencer
        .apply(command)
        .await
        .with_context(|| format!("could not {what}"))?;
    for event in applied.events.iter() {
        if let Event::Rejected(rejected) = event {
            let (kind, meaning) = of_reject(rejected.reason);
            bail!("could not {what}: {meaning} ({})", kind.code);
        }
    }
    Ok(applied)
}
