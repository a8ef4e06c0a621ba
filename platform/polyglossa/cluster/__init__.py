"""The cluster of a spec: Kubernetes manifests, virtual machines, dashboard, and a local one."""
