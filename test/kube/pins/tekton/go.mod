// Tekton's definition of a Task, for the API server of the tests.
module github.com/berth-dev/berth/test/kube/pins/tekton

go 1.25.0

require github.com/tektoncd/pipeline v1.6.0
