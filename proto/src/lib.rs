//! The wire: messages, services, and the conversion between them and the domain.
