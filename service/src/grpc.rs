//! Server reflection, in both versions that clients ask for.
//!
//! Only what the server serves is listed, though the descriptors hold every service of ours.

use tonic_reflection::server::{Builder, Error};

/// Reflection v1 of the services named, beside health and itself.
///
/// # Errors
/// When the descriptors are malformed, which a test of the generated code rules out.
pub fn reflection_v1(
    descriptors: &'static [u8],
    services: &[&str],
) -> Result<
    tonic_reflection::server::v1::ServerReflectionServer<impl tonic_reflection::server::v1::ServerReflection>,
    Error,
> {
    builder(descriptors, services, "grpc.reflection.v1.ServerReflection").build_v1()
}

/// Reflection v1alpha of the same: what Python's client still asks for.
///
/// # Errors
/// When the descriptors are malformed, which a test of the generated code rules out.
pub fn reflection_v1alpha(
    descriptors: &'static [u8],
    services: &[&str],
) -> Result<
    tonic_reflection::server::v1alpha::ServerReflectionServer<
        impl tonic_reflection::server::v1alpha::ServerReflection,
    >,
    Error,
> {
    builder(descriptors, services, "grpc.reflection.v1alpha.ServerReflection").build_v1alpha()
}

fn builder(descriptors: &'static [u8], services: &[&str], itself: &str) -> Builder<'static> {
    let builder = Builder::configure()
        .register_encoded_file_descriptor_set(descriptors)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
    let listed = services.iter().copied().chain(["grpc.health.v1.Health", itself]);
    listed.fold(builder, |builder, name| builder.with_service_name(name))
}
