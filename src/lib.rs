//! AWS IAM authentication for Kubernetes, as a live operator.
