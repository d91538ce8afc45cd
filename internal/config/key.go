package config

import "reflect"

// Key is one that an environment may have.
type Key struct {
	Path     string // such as "deploy.deploymentGroups[0].application": of a list its first element
	Default  string // "" when it has none
	Optional bool   // it may be left out
	Text     bool   // its value is a string
}

// Keys are all that an environment may have, those of a mapping before what is in it.
func Keys() []Key { return keysOf(configType, "") }

func keysOf(of reflect.Type, path string) []Key {
	switch of.Kind() {
	case reflect.Pointer:
		return keysOf(of.Elem(), path)
	case reflect.Slice:
		return keysOf(of.Elem(), path+"[0]")
	case reflect.Struct:
	default:
		return nil
	}
	if of == projectsType {
		return keysOf(reflect.TypeFor[[]Project](), path)
	}
	var keys []Key
	for _, f := range fieldsOf(of) {
		inner := of.Field(f.index).Type
		here := child(path, f.key)
		mapping := inner.Kind() == reflect.Struct && inner != projectsType
		keys = append(keys, Key{here, f.value, f.optional && !mapping, inner.Kind() == reflect.String})
		keys = append(keys, keysOf(inner, here)...)
	}
	return keys
}

// Check says what is wrong with the text of an environment's file, as [Load] does.
func Check(file, environment string, text []byte) error {
	_, err := load(file, environment, text)
	return err
}

// IsEnvironment says whether an environment may have this name.
func IsEnvironment(name string) bool { return environmentName.MatchString(name) }
