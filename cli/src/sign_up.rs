//! `atoll sign-up`: an account of one's own at an exchange, and its key kept where the other commands find it.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use proto::exchange::v1::SignUpRequest;
use proto::exchange::v1::sign_up_service_client::SignUpServiceClient;
use service::secret::Secret;

use crate::client::{connect, explain_as};
use crate::show;
use crate::state::{Membership, default_folder};
use crate::up::accounts::fresh_secret;

/// What the wire calls what a person wrote.
const WORDS: [(&str, &str); 1] = [("display_name", "--name")];

/// Make an account with a starter grant at an exchange that lets people sign up.
#[derive(Args, Debug)]
pub(crate) struct SignUp {
    /// A name for people, up to 100 characters.
    #[arg(long, value_name = "NAME", default_value = "")]
    name: String,
    /// The exchange's address.
    #[arg(
        long,
        env = "ATOLL_EXCHANGE",
        value_name = "URL",
        default_value = "http://127.0.0.1:8080"
    )]
    exchange: String,
    /// The folder in which the key is kept; one that has an account is left as it is.
    #[arg(long, env = "ATOLL_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
}

/// Signs up and keeps the key.
pub(crate) async fn run(asked: SignUp) -> Result<()> {
    let folder = asked.data.unwrap_or_else(default_folder);
    if let Some(file) = Membership::taken(&folder) {
        bail!(
            "{} has an account already; pass --data DIR with another folder for another one",
            file.display()
        );
    }
    // Whoever knows it could ask for the account again, though not for its key.
    let request_id = fresh_secret()?;
    let request = SignUpRequest {
        request_id: request_id.expose().to_owned(),
        display_name: asked.name,
    };
    let mut client = SignUpServiceClient::new(connect(&asked.exchange).await?);
    let answer = client.sign_up(request).await;
    let made = answer.map_err(|status| explain_as(&status, &WORDS))?.into_inner();
    let membership = Membership {
        exchange: asked.exchange,
        account: made.account_id,
        api_key: Secret::new(made.api_key),
    };
    println!(
        "{} has {} credits (virtual, no cash value)\nits key, shown this once: {}",
        membership.account,
        show::credits(made.granted_nano),
        membership.api_key.expose()
    );
    let file = membership.keep(&folder)?;
    println!("kept in {}, where the other commands find it", file.display());
    Ok(())
}
