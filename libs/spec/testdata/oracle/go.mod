module microbosh.test/oracle

go 1.21

require (
	github.com/cppforlife/go-patch v0.2.0
	gopkg.in/yaml.v2 v2.4.0
)
