// Package config is the agent's configuration: one YAML file, with flags and environment variables over it.
//
//	f, err := config.Parse(name, data)      // syntax, unknown keys, types: errors with line, column and excerpt
//	err = f.Override(flags, os.LookupEnv)   // flag, then DYNWATCH_… variable, then file, then default
//	err = f.Validate()                      // what the values say
//
// The structs are the only description: keys, defaults, the JSON schema (Schema) and the table in the documentation come from them.
//
// Nothing here reads files, clocks or the environment by itself. Secrets have no place in the configuration: it names the files that hold them.
package config
