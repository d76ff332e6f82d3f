// The definition of a set of runners of Actions Runner Controller, for the API server of the tests.
module github.com/berth-dev/berth/test/kube/pins/arc

go 1.25.0

require github.com/actions/actions-runner-controller v0.27.6
