{{/* Name of the objects: it ends in the application's, by which the alerts find the agents. */}}
{{- define "podvitals.fullname" -}}
{{- if eq .Release.Name .Chart.Name -}}
{{- .Chart.Name -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name -}}
{{- end -}}
{{- end -}}

{{/* Labels of the objects, and what selects the Pods. A release of another name than the
application's also has its own, so that the Pods of two releases are told apart. */}}
{{- define "podvitals.labels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
{{- if ne .Release.Name .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}
{{- end -}}

{{- define "podvitals.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (include "podvitals.fullname" .) -}}
{{- end -}}

{{- define "podvitals.image" -}}
{{- .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- with .Values.image.digest }}@{{ . }}{{ end }}
{{- end -}}
