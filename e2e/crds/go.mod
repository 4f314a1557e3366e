// The Prometheus operator's definitions of its objects, for the checks of what deploy/ has of them.
module podvitals/e2e/crds

go 1.24

require github.com/prometheus-operator/prometheus-operator v0.85.0
