// The Prometheus operator's definition of a PodMonitor, for the check of deploy/podmonitor.yaml.
module podvitals/e2e/crds

go 1.24

require github.com/prometheus-operator/prometheus-operator v0.85.0
